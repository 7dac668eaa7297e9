"""Which changes set off an action, how often, and why not."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from uuid import UUID, uuid5

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from domain import trigger
from domain.errors import InvalidInput, NotFound
from domain.event import Event
from domain.firing import Occasion, fire
from domain.monitor import ConditionMetAgain, State, StateChanged
from domain.trigger import (
    Frequency,
    Trigger,
    TriggerCondition,
    TriggerCreated,
    TriggerDeleted,
    TriggerDisabled,
    TriggerEnabled,
    TriggerFired,
    TriggerRevised,
    TriggerSuppressed,
)
from tests.conftest import AT
from tests.domain.plans import EVALUATION_ID, MONITOR_ID, changed, met_again
from tests.domain.specification import Given, Outcome

TRIGGER_ID, ACTION_ID, OTHER_ACTION_ID = UUID(int=11), UUID(int=12), UUID(int=13)
LATER = AT + timedelta(minutes=5)
HOUR = timedelta(hours=1)

BECOMES_ACTIVE, BECOMES_INACTIVE, STATE_CHANGE = (
    TriggerCondition.BECOMES_ACTIVE,
    TriggerCondition.BECOMES_INACTIVE,
    TriggerCondition.STATE_CHANGE,
)
UNKNOWN, INACTIVE, ACTIVE = State.UNKNOWN, State.INACTIVE, State.ACTIVE
FIRST_ACTIVE, FIRST_INACTIVE = changed(UNKNOWN, ACTIVE), changed(UNKNOWN, INACTIVE)
ENTERS, LEAVES, AGAIN = changed(INACTIVE, ACTIVE), changed(ACTIVE, INACTIVE), met_again()

given = Given(Trigger(), trigger.evolve)
DISABLED, ENABLED = TriggerDisabled(disabled_at=AT), TriggerEnabled(enabled_at=AT)
DELETED = TriggerDeleted(deleted_at=AT)

Decide = Callable[[Trigger], Sequence[Event]]


def created(
    condition: TriggerCondition = BECOMES_ACTIVE,
    frequency: Frequency = Frequency.EVERY_TIME,
    cooldown: timedelta = timedelta(),
) -> TriggerCreated:
    return TriggerCreated(
        monitor_id=MONITOR_ID,
        action_id=ACTION_ID,
        name="Alert",
        condition=condition,
        frequency=frequency,
        cooldown_seconds=cooldown // timedelta(seconds=1),
        created_at=AT,
    )


def creating(name: str = "Alert", cooldown: timedelta = timedelta()) -> Decide:
    return lambda _present: trigger.create(
        monitor_id=MONITOR_ID,
        action_id=ACTION_ID,
        name=name,
        condition=BECOMES_ACTIVE,
        frequency=Frequency.EVERY_TIME,
        cooldown=cooldown,
        now=AT,
    )


def revising(
    name: str = "Alert",
    action_id: UUID = ACTION_ID,
    condition: TriggerCondition = BECOMES_ACTIVE,
    frequency: Frequency = Frequency.EVERY_TIME,
    cooldown: timedelta = timedelta(),
) -> Decide:
    return lambda present: trigger.revise(
        present,
        action_id=action_id,
        name=name,
        condition=condition,
        frequency=frequency,
        cooldown=cooldown,
        now=LATER,
    )


def enabling(present: Trigger) -> Sequence[Event]:
    return trigger.enable(present, now=LATER)


def disabling(present: Trigger) -> Sequence[Event]:
    return trigger.disable(present, now=LATER)


def deleting(present: Trigger) -> Sequence[Event]:
    return trigger.delete(present, now=LATER)


def fired(place: int, at: datetime = AT) -> TriggerFired:
    return TriggerFired(
        firing_id=uuid5(TRIGGER_ID, str(place)),
        monitor_id=MONITOR_ID,
        evaluation_id=EVALUATION_ID,
        occasion=place,
        fired_at=at,
    )


def suppressed(place: int, reason: str, at: datetime = AT) -> TriggerSuppressed:
    return TriggerSuppressed(
        firing_id=uuid5(TRIGGER_ID, str(place)),
        monitor_id=MONITOR_ID,
        evaluation_id=EVALUATION_ID,
        occasion=place,
        reason=reason,
        suppressed_at=at,
    )


def comes(
    stream: Given[Trigger], occasion: Occasion, place: int = 1, *, obstacle: str | None = None, now: datetime = AT
) -> Outcome[Trigger]:
    """The change reaches the trigger."""
    return stream.when(lambda present: fire(TRIGGER_ID, present, occasion, place=place, obstacle=obstacle, now=now))


# Which change it waits for (API.md, the last lines of "Shapes that clients read")


@pytest.mark.parametrize(
    ("condition", "occasion", "fires"),
    [
        (BECOMES_ACTIVE, FIRST_ACTIVE, True),
        (BECOMES_ACTIVE, FIRST_INACTIVE, False),
        (BECOMES_ACTIVE, ENTERS, True),
        (BECOMES_ACTIVE, LEAVES, False),
        (BECOMES_ACTIVE, AGAIN, True),
        (BECOMES_INACTIVE, FIRST_ACTIVE, False),
        (BECOMES_INACTIVE, FIRST_INACTIVE, False),
        (BECOMES_INACTIVE, ENTERS, False),
        (BECOMES_INACTIVE, LEAVES, True),
        (BECOMES_INACTIVE, AGAIN, False),
        (STATE_CHANGE, FIRST_ACTIVE, False),
        (STATE_CHANGE, FIRST_INACTIVE, False),
        (STATE_CHANGE, ENTERS, True),
        (STATE_CHANGE, LEAVES, True),
        (STATE_CHANGE, AGAIN, False),
    ],
    ids=str,
)
def test_each_condition_waits_for_its_changes(condition: TriggerCondition, occasion: Occasion, *, fires: bool) -> None:
    outcome = comes(given(created(condition)), occasion)
    if fires:
        outcome.then_and_only_once(fired(1))
    else:
        outcome.changes_nothing()


# How often


def test_every_time_fires_at_every_occasion() -> None:
    stream = given(created())
    for place in (3, 7, 8):
        stream = comes(stream, AGAIN, place).then_and_only_once(fired(place))


def test_once_fires_once_and_says_afterwards_why_not() -> None:
    after = comes(given(created(frequency=Frequency.ONCE)), ENTERS, 1).then(fired(1))
    again = comes(after, ENTERS, 3).then_and_only_once(suppressed(3, "once_already_fired"))
    armed = again.when(enabling).then_and_only_once(TriggerEnabled(enabled_at=LATER))
    comes(armed, ENTERS, 5).then(fired(5))


def test_a_suppressed_occasion_does_not_spend_a_once_trigger() -> None:
    held_back = comes(given(created(frequency=Frequency.ONCE), DISABLED), ENTERS, 1).then(suppressed(1, "disabled"))
    comes(held_back(ENABLED), ENTERS, 3).then(fired(3))


def test_a_cool_down_holds_back_until_exactly_its_end() -> None:
    stream = comes(given(created(cooldown=HOUR)), ENTERS, 1).then(fired(1))
    early = AT + HOUR - timedelta(microseconds=1)
    held_back = comes(stream, ENTERS, 3, now=early).then_and_only_once(suppressed(3, "cooldown", early))
    comes(held_back, ENTERS, 5, now=AT + HOUR).then(fired(5, AT + HOUR))


@pytest.mark.parametrize("cooldown", [timedelta(), HOUR])
def test_after_a_clock_that_was_ahead_nothing_cools_down(cooldown: timedelta) -> None:
    ahead = AT + 5 * HOUR
    stream = given(created(cooldown=cooldown), fired(1, ahead))
    comes(stream, ENTERS, 3).then(fired(3))


def test_a_suppressed_occasion_does_not_start_a_cool_down() -> None:
    stream = comes(given(created(cooldown=HOUR)), ENTERS, 1).then(fired(1))
    held_back = comes(stream, ENTERS, 3, now=AT + HOUR / 2).then(suppressed(3, "cooldown", AT + HOUR / 2))
    comes(held_back, ENTERS, 5, now=AT + HOUR).then(fired(5, AT + HOUR))


def test_enabling_does_not_end_a_cool_down() -> None:
    stream = comes(given(created(cooldown=HOUR)), ENTERS, 1).then(fired(1))
    comes(stream(DISABLED, ENABLED), ENTERS, 3).then(suppressed(3, "cooldown"))


@pytest.mark.parametrize("obstacle", ["action_deleted", "address_unverified"])
def test_an_action_that_cannot_be_done_is_recorded_with_the_reason(obstacle: str) -> None:
    comes(given(created()), ENTERS, obstacle=obstacle).then_and_only_once(suppressed(1, obstacle))


def test_the_triggers_own_reason_comes_before_one_from_outside() -> None:
    comes(given(created(), DISABLED), ENTERS, obstacle="action_deleted").then(suppressed(1, "disabled"))
    both = given(created(frequency=Frequency.ONCE, cooldown=HOUR), fired(1))
    comes(both, ENTERS, 3).then(suppressed(3, "once_already_fired"))


def test_an_obstacle_does_not_make_a_trigger_wait_for_another_change() -> None:
    comes(given(created()), LEAVES, obstacle="action_deleted").changes_nothing()


@pytest.mark.parametrize("earlier", [fired(5), suppressed(5, "cooldown")], ids=["fired", "suppressed"])
@pytest.mark.parametrize("place", [1, 4, 5])
def test_a_change_that_was_judged_or_comes_late_is_not_judged_again(earlier: Event, place: int) -> None:
    comes(given(created(), earlier), ENTERS, place).changes_nothing()


@pytest.mark.parametrize("stream", [given, given(created(), DELETED)], ids=["never created", "deleted"])
def test_a_trigger_that_is_not_there_does_nothing(stream: Given[Trigger]) -> None:
    comes(stream, ENTERS).changes_nothing()


# What a person may do with it


def test_a_new_trigger_is_enabled() -> None:
    after = given.when(creating(cooldown=HOUR)).then(created(cooldown=HOUR))
    assert after.state.enabled
    assert after.state.cooldown == HOUR


@pytest.mark.parametrize(
    ("decide", "revised"),
    [
        (revising(name="Other"), {"name": "Other"}),
        (revising(action_id=OTHER_ACTION_ID), {"action_id": OTHER_ACTION_ID}),
        (revising(condition=STATE_CHANGE), {"condition": STATE_CHANGE}),
        (revising(frequency=Frequency.ONCE), {"frequency": Frequency.ONCE}),
        (revising(cooldown=HOUR), {"cooldown_seconds": 3600}),
    ],
    ids=["name", "action", "condition", "frequency", "cool-down"],
)
def test_a_trigger_is_revised_once(decide: Decide, revised: dict[str, object]) -> None:
    same = {"action_id": ACTION_ID, "name": "Alert", "condition": BECOMES_ACTIVE, "frequency": Frequency.EVERY_TIME}
    after = (
        given(created())
        .when(decide)
        .then_and_only_once(
            TriggerRevised(**{**same, **revised}, revised_at=LATER)  # type: ignore[arg-type]  # the fields of the case
        )
    )
    assert after.state.enabled


def test_the_same_content_changes_nothing() -> None:
    given(created()).when(revising()).changes_nothing()


def test_disabling_and_enabling_work_once_each() -> None:
    stream = given(created())
    stream.when(enabling).changes_nothing()
    disabled = stream.when(disabling).then_and_only_once(TriggerDisabled(disabled_at=LATER))
    enabled = disabled.when(enabling).then_and_only_once(TriggerEnabled(enabled_at=LATER))
    assert enabled.state == stream.state


def test_enabling_a_trigger_that_fires_every_time_and_has_fired_changes_nothing() -> None:
    given(created(), fired(1)).when(enabling).changes_nothing()


def test_a_trigger_is_deleted_once() -> None:
    given(created()).when(deleting).then_and_only_once(TriggerDeleted(deleted_at=LATER))


@pytest.mark.parametrize("decide", [revising(), enabling, disabling], ids=["revise", "enable", "disable"])
@pytest.mark.parametrize("stream", [given, given(created(), DELETED)], ids=["never created", "deleted"])
def test_what_is_not_there_cannot_be_changed(stream: Given[Trigger], decide: Decide) -> None:
    stream.when(decide).is_refused(NotFound)


@pytest.mark.parametrize("name", ["", " ", "x" * 121, "two\nlines", "nul\0"])
def test_a_name_that_cannot_be_shown_is_refused(name: str) -> None:
    given.when(creating(name=name)).is_refused(InvalidInput, field="name")
    given(created()).when(revising(name=name)).is_refused(InvalidInput, field="name")


@pytest.mark.parametrize(
    "cooldown", [timedelta(seconds=-1), timedelta(days=366, seconds=1), timedelta(milliseconds=500)], ids=str
)
def test_a_cool_down_outside_of_its_bounds_is_refused(cooldown: timedelta) -> None:
    given.when(creating(cooldown=cooldown)).is_refused(InvalidInput, field="cooldown")
    given(created()).when(revising(cooldown=cooldown)).is_refused(InvalidInput, field="cooldown")


def test_a_cool_down_of_a_leap_year_is_taken() -> None:
    given.when(creating(cooldown=timedelta(days=366))).then(created(cooldown=timedelta(days=366)))


# Whatever happens in whatever order

occasions: st.SearchStrategy[StateChanged | ConditionMetAgain] = st.sampled_from(
    [FIRST_ACTIVE, FIRST_INACTIVE, ENTERS, LEAVES, AGAIN]
)
places = st.integers(1, 12)
obstacles = st.sampled_from([None, None, "action_deleted"])
minutes = st.integers(0, 90).map(lambda n: timedelta(minutes=n))


@st.composite
def steps(draw: st.DrawFn) -> tuple[str, Decide, timedelta]:
    occasion, place, obstacle, later = draw(occasions), draw(places), draw(obstacles), draw(minutes)

    def firing(present: Trigger) -> Sequence[Event]:
        return fire(TRIGGER_ID, present, occasion, place=place, obstacle=obstacle, now=AT + later)

    revised = revising(
        frequency=draw(st.sampled_from(Frequency)),
        condition=draw(st.sampled_from(TriggerCondition)),
        cooldown=draw(minutes),
    )
    commands: dict[str, Decide] = {
        "fire": firing,
        "revise": revised,
        "enable": enabling,
        "disable": disabling,
        "delete": deleting,
    }
    name = draw(st.sampled_from(["fire"] * 5 + sorted(commands)))
    return name, commands[name], later


@for_all(frequency=st.sampled_from(Frequency), cooldown=minutes, taken=st.lists(steps(), max_size=20))
def test_no_sequence_of_commands_and_changes_breaks_a_trigger(
    frequency: Frequency, cooldown: timedelta, taken: list[tuple[str, Decide, timedelta]]
) -> None:
    stream = given(created(frequency=frequency, cooldown=cooldown))
    fired_since_enabled = 0
    judged: list[int] = []
    for name, decide, later in taken:
        before = stream.state
        outcome = stream.when(decide)
        if outcome.refusal is not None:
            assert name != "fire", "a change is never refused"
            continue
        assert len(outcome.events) <= 1
        for event in outcome.events:
            match event:
                case TriggerEnabled():
                    fired_since_enabled = 0
                case TriggerFired(occasion=place):
                    assert before.enabled
                    assert not before.deleted
                    assert before.frequency is not Frequency.ONCE or fired_since_enabled == 0
                    cooling = AT + later - (before.last_fired_at or AT + later)
                    assert not (before.last_fired_at and timedelta() <= cooling < before.cooldown)
                    fired_since_enabled += 1
                    judged.append(place)
                case TriggerSuppressed(occasion=place):
                    judged.append(place)
                case _:
                    pass
        stream = outcome.then_and_only_once(*outcome.events)
    assert judged == sorted(set(judged)), "each place is judged once, in the order of the log"
    firings = [event.firing_id for event in stream.events if isinstance(event, TriggerFired | TriggerSuppressed)]
    assert len(firings) == len(set(firings))
