"""Events of older versions are read as if they had been written today."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.event import event_types
from domain.event_codec import UnknownEvent, decode, decode_entry, encode, upcast_entry
from domain.log_entry import LogEntry
from domain.notification import MailKind, NotificationRequested
from domain.upcasting import Fields, Upcasters, upcasts
from tests.conftest import AT
from tests.golden.record import golden_of

TAG = "kettle.boiled"


def entry_of(tag: str, version: int, data: bytes) -> LogEntry:
    return LogEntry(
        partition=3,
        place=7,
        position=42,
        stream_id=UUID(int=1),
        version=2,
        owner_id=UUID(int=3),
        type=tag,
        type_version=version,
        data=data.decode(),
        metadata=json.dumps({"correlation_id": str(UUID(int=4)), "actor": "test"}),
        event_id=UUID(int=5),
        recorded_at="2026-01-01T00:00:00.000000Z",
    )


def as_it_was(fields: Fields) -> Fields:
    """The step to a version that only allows more than the one before."""
    return fields


def of_kettles() -> Upcasters:
    """A boiled kettle was first told in Fahrenheit, then in Celsius, and then with where it stands."""
    kettles = Upcasters()

    @kettles.upcasts(TAG, from_version=1)
    def _in_celsius(fields: Fields) -> Fields:
        fahrenheit = fields.pop("fahrenheit")
        return fields | {"celsius": (fahrenheit - 32) * 5 / 9}

    @kettles.upcasts(TAG, from_version=2)
    def _say_where(fields: Fields) -> Fields:
        return fields | {"place": "unknown"}

    return kettles


def test_each_older_version_goes_through_all_the_steps_to_the_present_one() -> None:
    kettles = of_kettles()
    kettles.check({TAG: 3, "kettle.bought": 1})
    read = {version: msgspec.json.decode(kettles.upcast(TAG, version, data)) for version, data in {
        1: '{"fahrenheit":212}',
        2: '{"celsius":100}',
        3: '{"celsius":100,"place":"kitchen"}',
    }.items()}  # fmt: skip
    assert read == {
        1: {"celsius": 100, "place": "unknown"},
        2: {"celsius": 100, "place": "unknown"},
        3: {"celsius": 100, "place": "kitchen"},
    }


@pytest.mark.parametrize(
    ("present", "complaint"),
    [
        ({TAG: 4}, "nothing brings 'kettle.boiled' from version 3 to 4"),
        ({TAG: 3, "kettle.bought": 2}, "nothing brings 'kettle.bought' from version 1 to 2"),
        ({TAG: 2}, "the step of 'kettle.boiled' from version 2 leads past its present version"),
        ({}, "the step of 'kettle.boiled' from version 1 leads past"),
    ],
)
def test_a_gap_in_a_chain_and_a_step_to_nowhere_are_found_at_import(present: dict[str, int], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        of_kettles().check(present)


def test_a_step_is_not_declared_twice_but_by_the_import_of_its_own_module() -> None:
    kettles = of_kettles()
    with pytest.raises(ValueError, match="has its step from version 1 already"):
        kettles.upcasts(TAG, from_version=1)(as_it_was)
    kettles.upcasts("kettle.filled", from_version=1)(as_it_was)
    assert kettles.upcasts("kettle.filled", from_version=1)(as_it_was) is as_it_was


@settings(max_examples=30)
@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers(-(2**63), 2**63)
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(st.characters(exclude_categories=["Cs"])),
            lambda inner: st.lists(inner, max_size=2),
            max_leaves=5,
        ),
    )
)
def test_a_version_that_only_allows_more_leaves_every_field_as_it_was(fields: Fields) -> None:
    kettles = Upcasters()
    kettles.upcasts(TAG, from_version=1)(as_it_was)
    assert msgspec.json.decode(kettles.upcast(TAG, 1, msgspec.json.encode(fields))) == fields


OLD_REQUEST = {
    "kind": "verify_email",
    "to": "ada@example.org",
    "subject": "Vigil: confirm your address",
    "monitor_id": None,
    "trigger_id": None,
    "action_id": None,
    "firing_id": None,
    "evaluation_id": None,
    "token_id": str(UUID(int=9)),
    "requested_at": "2026-01-01T00:00:00Z",
}


def test_an_old_request_of_a_verification_mail_expires_when_its_mail_said() -> None:
    read = decode("notification.requested", 1, json.dumps(OLD_REQUEST))
    assert read == NotificationRequested(
        kind=MailKind.VERIFY_EMAIL,
        to="ada@example.org",
        subject="Vigil: confirm your address",
        token_id=UUID(int=9),
        expires_at=AT + timedelta(hours=24),
        requested_at=AT,
    )


@pytest.mark.parametrize("kind", ["alert", "already_registered"])
def test_an_old_request_of_another_mail_has_nothing_that_expires(kind: str) -> None:
    read = decode("notification.requested", 1, json.dumps(OLD_REQUEST | {"kind": kind}))
    assert isinstance(read, NotificationRequested)
    assert read.expires_at is None


@given(at=st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001  hypothesis adds the zone
def test_an_old_request_of_any_moment_is_read(at: datetime) -> None:
    stored = msgspec.json.encode(OLD_REQUEST | {"requested_at": at})
    read = decode("notification.requested", 1, stored)
    assert isinstance(read, NotificationRequested)
    assert read.expires_at == at + timedelta(hours=24)
    assert decode("notification.requested", read.tag_version, encode(read)) == read


@pytest.mark.parametrize("read", [upcast_entry, decode_entry])
@pytest.mark.parametrize("version", [0, NotificationRequested.tag_version + 1])
def test_a_version_that_is_not_known_is_refused_and_not_guessed(
    read: Callable[[LogEntry], object], version: int
) -> None:
    data = golden_of("notification.requested", 2)[0]
    with pytest.raises(UnknownEvent, match=rf"'notification\.requested' of version {version}"):
        read(entry_of("notification.requested", version, data))


def test_an_entry_of_an_older_version_has_the_fields_of_the_present_one_and_stays_itself_otherwise() -> None:
    entry = entry_of("notification.requested", 1, msgspec.json.encode(OLD_REQUEST))
    now = upcast_entry(entry)
    assert json.loads(now.data) == OLD_REQUEST | {"expires_at": "2026-01-02T00:00:00+00:00", "not_before": None}
    assert msgspec.structs.replace(now, type_version=1, data=entry.data) == entry
    assert decode_entry(now) == decode_entry(entry)


@pytest.mark.parametrize("tag", sorted(event_types()))
def test_an_entry_of_the_present_version_is_handed_on_untouched(tag: str) -> None:
    version = event_types()[tag].tag_version
    entry = entry_of(tag, version, golden_of(tag, version)[0])
    assert upcast_entry(entry) is entry


def test_an_entry_that_is_not_of_our_events_is_handed_on_untouched() -> None:
    entry = entry_of("eventsourcing:dogs:Dog.TrickAdded", 1, b"{}")
    assert upcast_entry(entry) is entry


def test_steps_are_declared_beside_the_events_of_this_program() -> None:
    with pytest.raises(ValueError, match="already: _say_when_the_link_expires"):
        upcasts("notification.requested", from_version=1)(as_it_was)
