"""Signal sources and signals, given - when - then."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from commands.signal_signature import TOLERANCE, SignatureRefused, key_of, new_secret, read_signed
from domain import signal, signal_source
from domain.errors import InvalidInput, NotFound
from domain.signal_source import (
    RegisteredSource,
    SignalSecretRotated,
    SignalSourceCreated,
    SignalSourceDeleted,
    SignalSourceRevised,
    Terms,
)
from tests.conftest import AT
from tests.domain.specification import Given

ONE, TWO = UUID(int=1), UUID(int=2)
DAY = timedelta(days=1)
CREATED = SignalSourceCreated(
    name="Greenhouse", schema='{"type":"object"}', silent_after_seconds=86_400, secret_id=ONE, created_at=AT
)
TERMS = Terms("Greenhouse", '{"type":"object"}', DAY)
given = Given(RegisteredSource(), signal_source.evolve)


def test_a_source_is_created_with_its_terms() -> None:
    made = given.when(lambda _: signal_source.create(TERMS, secret_id=ONE, now=AT)).then(CREATED)
    assert made.state == RegisteredSource(terms=TERMS, secret_id=ONE)


def test_a_source_is_revised_once() -> None:
    terms = Terms("Glasshouse")
    revised = SignalSourceRevised(name="Glasshouse", revised_at=AT)
    given(CREATED).when(lambda present: signal_source.revise(present, terms, now=AT)).then_and_only_once(revised)
    assert given(CREATED, revised).state == RegisteredSource(terms=terms, secret_id=ONE)


def test_a_rotation_names_the_new_secret_and_when_the_older_one_ends() -> None:
    rotated = SignalSecretRotated(secret_id=TWO, overlap_ends_at=AT + DAY, rotated_at=AT)
    after = (
        given(CREATED)
        .when(lambda present: signal_source.rotate(present, secret_id=TWO, overlap=DAY, now=AT))
        .then(rotated)
    )
    assert after.state == RegisteredSource(terms=TERMS, secret_id=TWO)


def test_a_source_is_deleted_once_and_nothing_can_be_done_with_it_then() -> None:
    deleted = SignalSourceDeleted(deleted_at=AT)
    given(CREATED).when(lambda present: signal_source.delete(present, now=AT)).then_and_only_once(deleted)
    for state in (given, given(CREATED, deleted)):
        state.when(lambda present: signal_source.revise(present, TERMS, now=AT)).is_refused(NotFound)
        state.when(lambda present: signal_source.rotate(present, secret_id=TWO, overlap=DAY, now=AT)).is_refused(
            NotFound
        )
        state.when(lambda present: signal_source.delete(present, now=AT)).changes_nothing()


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        (Terms(" "), "name"),
        (Terms("a\nb"), "name"),
        (Terms("x", schema='"' + "ä" * signal_source.SCHEMA_BYTES_MAX + '"'), "schema"),
        (Terms("x", silent_after=timedelta(seconds=59)), "silent_after"),
        (Terms("x", silent_after=timedelta(days=367)), "silent_after"),
        (Terms("x", silent_after=timedelta(minutes=1, microseconds=1)), "silent_after"),
    ],
)
def test_terms_out_of_bounds_are_refused_by_field(terms: Terms, field: str) -> None:
    given.when(lambda _: signal_source.create(terms, secret_id=ONE, now=AT)).is_refused(InvalidInput, field=field)
    given(CREATED).when(lambda present: signal_source.revise(present, terms, now=AT)).is_refused(
        InvalidInput, field=field
    )


@pytest.mark.parametrize("overlap", [timedelta(seconds=-1), signal_source.OVERLAP_MAX + timedelta(seconds=1)])
def test_two_secrets_are_good_for_a_week_at_most(overlap: timedelta) -> None:
    given(CREATED).when(
        lambda present: signal_source.rotate(present, secret_id=TWO, overlap=overlap, now=AT)
    ).is_refused(InvalidInput, field="overlap")


def test_the_id_of_a_signal_follows_from_its_source_and_its_senders_id() -> None:
    assert signal.signal_id(ONE, "a") == signal.signal_id(ONE, "a")
    assert len({signal.signal_id(ONE, "a"), signal.signal_id(ONE, "b"), signal.signal_id(TWO, "a")}) == 3
    assert signal.evaluation_of(ONE, TWO) != signal.evaluation_of(TWO, ONE)


# The signature

# Published with the libraries of Standard Webhooks, whose tests hold it: secret, id, time, body and signature.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
VECTOR = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
BODY = b'{"test": 2432232314}'


def test_the_published_example_is_verified() -> None:
    signed = read_signed(VECTOR, now=datetime.fromtimestamp(1614265330, UTC))
    assert signed.is_by([key_of(SECRET)], BODY)
    assert signed.is_by([key_of(new_secret()), key_of(SECRET)], BODY)
    assert not signed.is_by([key_of(new_secret())], BODY)
    assert not signed.is_by([], BODY)
    assert not signed.is_by([key_of(SECRET)], BODY + b" ")


@pytest.mark.parametrize(("seconds", "is_taken"), [(-300, True), (300, True), (-301, False), (301, False)])
def test_the_time_may_differ_by_the_tolerance(seconds: int, is_taken: bool) -> None:  # noqa: FBT001
    assert timedelta(seconds=300) == TOLERANCE
    headers = {**VECTOR, "webhook-timestamp": str(int(AT.timestamp()) + seconds)}
    if is_taken:
        assert read_signed(headers, now=AT).sent_at == AT + timedelta(seconds=seconds)
        return
    with pytest.raises(SignatureRefused) as refused:
        read_signed(headers, now=AT)
    assert refused.value.field == "webhook-timestamp"


def test_secrets_are_made_of_enough_chance() -> None:
    assert len({new_secret() for _ in range(100)}) == 100
    assert 24 <= len(key_of(new_secret())) <= 64
