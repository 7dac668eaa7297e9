"""Events in stored form: what was written is what is read, for ever."""

import json
from datetime import UTC, date, datetime
from enum import Enum
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import action, evaluation, monitor, notification, signal, signal_source, trigger, user
from domain.action import Action, ActionDeleted, EmailAction
from domain.errors import RuleViolation
from domain.evaluation import Evaluation
from domain.event import Event, Metadata, StreamEvent, event_types, stored_as
from domain.event_codec import (
    AGGREGATES,
    UnknownEvent,
    decode,
    decode_entry,
    decode_metadata,
    encode,
    encode_metadata,
)
from domain.fact import FactSpec, Select
from domain.log_entry import PARTITIONS, LogEntry, partition_of
from domain.monitor import Monitor, MonitorPaused
from domain.notification import Notification
from domain.schedule import Schedule
from domain.signal import Signal
from domain.signal_source import RegisteredSource
from domain.source import Source
from domain.trigger import Trigger
from domain.user import User
from tests.conftest import AT

FOLDS = {
    "action": (Action(), action.evolve),
    "evaluation": (Evaluation(), evaluation.evolve),
    "monitor": (Monitor(), monitor.evolve),
    "notification": (Notification(), notification.evolve),
    "signal": (Signal(), signal.evolve),
    "signal_source": (RegisteredSource(), signal_source.evolve),
    "trigger": (Trigger(), trigger.evolve),
    "user": (User(), user.evolve),
}

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
numbers = st.floats(allow_nan=False, allow_infinity=False)
moments = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  hypothesis adds the zone
LEAVES: dict[object, st.SearchStrategy[object]] = {
    bool: st.booleans(),
    int: st.integers(0, 10**9),
    float: numbers,
    str: texts,
    date: st.dates(date(1970, 1, 1), date(2100, 1, 1)),
    datetime: moments,
    UUID: st.uuids(),
    type(None): st.none(),
}


@cache
def values_of(kind: Any) -> st.SearchStrategy[Any]:  # noqa: ANN401  a type as it is written in a field
    """Any value a field of this type can hold."""
    if kind in LEAVES:
        return LEAVES[kind]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return st.sampled_from(kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = get_type_hints(kind)
        return st.builds(kind, **{field.name: values_of(hints[field.name]) for field in msgspec.structs.fields(kind)})
    origin, parts = get_origin(kind), get_args(kind)
    if origin in {Union, UnionType}:
        return st.one_of(*map(values_of, parts))
    if origin is dict:
        return st.dictionaries(values_of(parts[0]), values_of(parts[1]), max_size=2)
    several = st.lists(values_of(parts[0]), max_size=2)
    return several.map(tuple) if origin is tuple else several


WITHOUT_FOLD = {"operation": "operation", "model": "model_call", "budget": "budget"}
"""Acts and facts that stand for themselves, and their modules."""


def test_the_aggregates_and_operators_acts_and_nothing_else_are_stored() -> None:
    assert {module.__name__ for module in AGGREGATES} == {f"domain.{name}" for name in {*FOLDS, *WITHOUT_FOLD.values()}}
    assert {tag.partition(".")[0] for tag in event_types()} == {*FOLDS, *WITHOUT_FOLD}


@pytest.mark.parametrize("tag", sorted(event_types()))
@settings(max_examples=15)
@given(data=st.data())
def test_every_event_is_read_as_it_was_written_and_folds(tag: str, data: st.DataObject) -> None:
    cls = event_types()[tag]
    event = data.draw(values_of(cls))
    stored = encode(event)
    assert decode(cls.tag, cls.tag_version, stored) == event
    assert decode(cls.tag, cls.tag_version, json.dumps(json.loads(stored))) == event, "also after a trip through jsonb"
    if (kind := tag.partition(".")[0]) not in WITHOUT_FOLD:
        initial, evolve = FOLDS[kind]
        evolve(initial, event)  # type: ignore[operator]  # the fold of its own aggregate


@given(
    st.builds(
        Metadata,
        correlation_id=st.uuids(),
        causation_id=st.none() | st.uuids(),
        command_id=st.none() | texts,
        actor=texts,
        traceparent=st.none() | texts,
    )
)
def test_metadata_is_read_as_it_was_written(metadata: Metadata) -> None:
    assert decode_metadata(encode_metadata(metadata)) == metadata


def test_what_is_absent_in_metadata_is_not_written() -> None:
    metadata = Metadata(correlation_id=UUID(int=1), actor="evaluator")
    assert json.loads(encode_metadata(metadata)) == {"correlation_id": str(UUID(int=1)), "actor": "evaluator"}


@settings(max_examples=30)
@given(values_of(Schedule) | values_of(Source))
def test_a_tagged_value_is_told_from_its_siblings(value: object) -> None:
    union: Any = Schedule if isinstance(value, Schedule) else Source
    assert msgspec.json.decode(msgspec.json.encode(value), type=union) == value


def test_an_event_of_a_newer_program_is_refused_and_not_guessed() -> None:
    with pytest.raises(UnknownEvent, match=r"monitor\.teleported"):
        decode("monitor.teleported", 1, b"{}")
    with pytest.raises(UnknownEvent, match="version 2"):
        decode("monitor.paused", 2, b"{}")


def test_a_field_nobody_knows_is_refused_and_not_dropped() -> None:
    with pytest.raises(msgspec.ValidationError, match="paused_by"):
        decode("monitor.paused", 1, b'{"paused_at":"2026-01-01T00:00:00Z","paused_by":"eve"}')


def test_a_tag_is_never_given_to_a_second_class() -> None:
    with pytest.raises(ValueError, match="never reused"):

        @stored_as("monitor.paused")
        class Impostor(Event, frozen=True, kw_only=True):
            """Not the real one."""

    assert event_types()["monitor.paused"] is MonitorPaused


def test_a_class_may_be_registered_again_by_the_import_of_its_own_module() -> None:
    assert stored_as("action.deleted")(ActionDeleted) is ActionDeleted
    assert event_types()["action.deleted"] is ActionDeleted


def test_the_registry_cannot_be_changed_through_what_it_hands_out() -> None:
    event_types().clear()
    assert event_types()


def test_an_entry_of_the_log_carries_its_event_whole() -> None:
    event = MonitorPaused(paused_at=AT)
    metadata = Metadata(correlation_id=UUID(int=4), actor="test", command_id="k")
    entry = LogEntry(
        partition=3,
        place=7,
        position=42,
        stream_id=UUID(int=1),
        version=2,
        owner_id=UUID(int=3),
        type=event.tag,
        type_version=event.tag_version,
        data=encode(event).decode(),
        metadata=encode_metadata(metadata).decode(),
        event_id=UUID(int=5),
        recorded_at="2026-01-01T00:00:00.000000Z",
    )
    assert decode_entry(entry) == StreamEvent(
        stream_id=UUID(int=1),
        version=2,
        owner_id=UUID(int=3),
        event=event,
        metadata=metadata,
        event_id=UUID(int=5),
        recorded_at=AT,
    )


@given(st.uuids())
def test_everything_of_a_person_is_in_one_of_the_partitions(owner_id: UUID) -> None:
    assert 0 <= partition_of(owner_id) < PARTITIONS
    assert partition_of(owner_id) == partition_of(UUID(str(owner_id)))


def test_a_rule_tells_its_docstring_unless_it_has_something_better_to_say() -> None:
    assert RuleViolation().message == "The request breaks a rule."
    told = RuleViolation("another word", field="name")
    assert (told.message, told.field, str(told)) == ("another word", "name", "another word")


def test_values_that_were_not_given_are_not_stored_in_selections() -> None:
    spec = FactSpec(name="price", type="number", select=Select(jsonpath="$.price"))  # type: ignore[arg-type]  # as decoded
    assert json.loads(msgspec.json.encode(spec)) == {
        "name": "price",
        "type": "number",
        "select": {"jsonpath": "$.price"},
    }
    assert EmailAction() == msgspec.convert({"type": "email"}, EmailAction)
