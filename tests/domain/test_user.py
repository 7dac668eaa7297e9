"""A person's address, and what proves it."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from domain import user
from domain.errors import InvalidInput, RuleViolation
from domain.event import Event
from domain.user import (
    EmailVerificationRequested,
    EmailVerified,
    RegistrationRepeated,
    RoleGranted,
    User,
    UserRegistered,
)
from tests.conftest import AT
from tests.domain.specification import Given

EMAIL = "ada@example.org"
FIRST, SECOND = UUID(int=1), UUID(int=2)
DAY = timedelta(hours=24)

stream = Given(User(), user.evolve)
REGISTERED = UserRegistered(email=EMAIL, name="Ada", timezone="Europe/Berlin", registered_at=AT)
VERIFIED = EmailVerified(email=EMAIL, verified_at=AT)

Decide = Callable[[User], Sequence[Event]]


def asked(token_id: UUID = FIRST, at: datetime = AT) -> EmailVerificationRequested:
    return EmailVerificationRequested(token_id=token_id, email=EMAIL, expires_at=at + DAY)


unverified = stream(REGISTERED, asked())
verified = unverified(VERIFIED)


def registering_again(token_id: UUID = SECOND, now: datetime = AT) -> Decide:
    return lambda present: user.repeat_registration(present, token_id=token_id, now=now)


def verifying(token_id: UUID = FIRST, now: datetime = AT) -> Decide:
    return lambda present: user.verify_email(present, token_id=token_id, now=now)


def granting(role: str) -> Decide:
    return lambda present: user.grant_role(present, role=role, now=AT)


def test_a_new_person_is_a_member_with_an_address_to_prove_within_a_day() -> None:
    after = stream.when(
        lambda _: user.register(email=EMAIL, name="Ada", timezone="Europe/Berlin", token_id=FIRST, now=AT)
    ).then(REGISTERED, asked())
    assert after.state == User(
        email=EMAIL,
        name="Ada",
        timezone="Europe/Berlin",
        pending_token_id=FIRST,
        pending_until=AT + DAY,
        roles=frozenset({"member"}),
    )


def test_following_the_link_proves_the_address_once() -> None:
    after = unverified.when(verifying()).then(VERIFIED)
    assert after.state.verified
    after.when(verifying()).is_refused(InvalidInput, field="token")


def test_a_link_works_until_exactly_a_day_has_passed() -> None:
    assert unverified.when(verifying(now=AT + DAY)).refusal is None
    unverified.when(verifying(now=AT + DAY + timedelta(microseconds=1))).is_refused(InvalidInput, field="token")


def test_a_newer_link_makes_the_older_one_useless() -> None:
    again = unverified.when(registering_again()).then(asked(SECOND))
    again.when(verifying(FIRST)).is_refused(InvalidInput, field="token")
    assert again.when(verifying(SECOND)).then(VERIFIED).state.verified


def test_somebody_elses_link_proves_nothing() -> None:
    unverified.when(verifying(UUID(int=99))).is_refused(InvalidInput, field="token")
    stream.when(verifying()).is_refused(InvalidInput, field="token")


def test_registering_a_proved_address_again_only_tells_its_owner() -> None:
    told = verified.when(registering_again()).then(RegistrationRepeated(email=EMAIL, repeated_at=AT))
    assert told.state == verified.state


@pytest.mark.parametrize("role", ["operator", "auditor", "admin"])
def test_a_role_is_given_once_and_takes_none_away(role: str) -> None:
    after = verified.when(granting(role)).then_and_only_once(RoleGranted(role=role, granted_at=AT))
    assert after.state.roles == {"member", role}


def test_a_member_is_one_already() -> None:
    verified.when(granting("member")).changes_nothing()


@pytest.mark.parametrize("role", ["", "root", "Admin"])
def test_there_are_no_other_roles(role: str) -> None:
    verified.when(granting(role)).is_refused(InvalidInput, field="role")


tokens = st.sampled_from([FIRST, SECOND])
times = st.integers(0, 30).map(lambda hours: AT + timedelta(hours=hours))
decisions = st.one_of(
    st.builds(registering_again, tokens, times),
    st.builds(verifying, tokens, times),
    st.sampled_from(["auditor", "admin", "root"]).map(granting),
)


@for_all(st.lists(decisions, max_size=10))
def test_no_sequence_of_commands_proves_an_address_twice_or_loses_a_role(commands: list[Decide]) -> None:
    present = unverified
    for decide in commands:
        outcome = present.when(decide)
        assert outcome.refusal is None or isinstance(outcome.refusal, RuleViolation)
        after = present(*outcome.events)
        assert after.state.roles >= present.state.roles
        assert after.state.verified >= present.state.verified
        present = after
    proofs = [i for i, event in enumerate(present.events) if isinstance(event, EmailVerified)]
    assert len(proofs) <= 1
    assert present.state.verified == bool(proofs)
    assert present.state.email == EMAIL
