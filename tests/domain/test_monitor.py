"""What a person may do with a monitor, and what it comes to."""

from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from domain import monitor
from domain.errors import Conflict, InvalidInput, NotFound, RuleViolation
from domain.event import Event
from domain.fact import FactSpec, FactType
from domain.monitor import (
    Monitor,
    MonitorDeleted,
    MonitorPaused,
    MonitorRenamed,
    MonitorRestored,
    MonitorResumed,
    PlanRevised,
    State,
    Status,
)
from domain.plan import Fires
from domain.schedule import Every
from domain.source import FeedSource
from tests.conftest import AT
from tests.domain.plans import MONITOR_ID, PLAN, PROMPT, changed, created, met_again, plan
from tests.domain.specification import Given

LATER = AT + timedelta(minutes=5)

given = Given(Monitor(), monitor.evolve)
PAUSED, RESUMED, DELETED = MonitorPaused(paused_at=AT), MonitorResumed(resumed_at=AT), MonitorDeleted(deleted_at=AT)

Decide = Callable[[Monitor], Sequence[Event]]


def renaming(name: str) -> Decide:
    return lambda present: monitor.rename(present, name=name, now=LATER)


def revising(prompt: str = PROMPT, /, **changes: object) -> Decide:
    return lambda present: monitor.revise(present, prompt=prompt, plan=plan(**changes), now=LATER)


def pausing(present: Monitor) -> Sequence[Event]:
    return monitor.pause(present, now=LATER)


def resuming(present: Monitor) -> Sequence[Event]:
    return monitor.resume(present, now=LATER)


def deleting(present: Monitor) -> Sequence[Event]:
    return monitor.delete(present, now=LATER)


def restoring(name: str | None = None) -> Decide:
    return lambda present: monitor.restore(present, name=name, now=LATER)


def creating(name: str = "Kettle", prompt: str = PROMPT) -> Decide:
    return lambda _present: monitor.create(name=name, prompt=prompt, plan=PLAN, now=AT)


def test_a_new_monitor_is_active_and_its_state_unknown() -> None:
    after = given.when(creating()).then(created())
    assert after.state == Monitor(
        status=Status.ACTIVE,
        name="Kettle",
        prompt=PROMPT,
        plan=PLAN,
        plan_revision=1,
        question_revision=1,
        watched_since=AT,
    )
    assert after.state.current_plan == PLAN


def test_a_monitor_that_was_never_created_has_no_plan() -> None:
    with pytest.raises(NotFound):
        _ = Monitor().current_plan


@pytest.mark.parametrize("name", ["K", "k" * 120, "Ключ 🔑", "  Kettle  "])
def test_a_name_of_1_to_120_printable_characters_is_taken(name: str) -> None:
    assert given.when(creating(name=name)).refusal is None
    given(created()).when(renaming(name)).then_and_only_once(MonitorRenamed(name=name, renamed_at=LATER))


@pytest.mark.parametrize("name", ["", "   ", "k" * 121, "two\nlines", "nul\0", "bell\a", "\u202eelttek", "\ud800"])
def test_any_other_name_is_refused(name: str) -> None:
    given.when(creating(name=name)).is_refused(InvalidInput, field="name")
    given(created()).when(renaming(name)).is_refused(InvalidInput, field="name")


@pytest.mark.parametrize("prompt", ["abc", "x" * 2000, " abc "])
def test_a_prompt_of_3_to_2000_characters_is_taken(prompt: str) -> None:
    assert given.when(creating(prompt=prompt)).refusal is None


@pytest.mark.parametrize("prompt", ["", "ab", "  ab  ", "     ", "x" * 2001])
def test_any_other_prompt_is_refused(prompt: str) -> None:
    given.when(creating(prompt=prompt)).is_refused(InvalidInput, field="prompt")
    given(created()).when(revising(prompt)).is_refused(InvalidInput, field="prompt")


def test_a_plan_that_no_evaluation_could_serve_is_refused() -> None:
    given.when(lambda _: monitor.create(name="K", prompt=PROMPT, plan=plan(facts=()), now=AT)).is_refused(
        InvalidInput, field="facts"
    )
    given(created()).when(revising(sources=())).is_refused(InvalidInput, field="sources")


def test_the_same_name_changes_nothing() -> None:
    given(created()).when(renaming("Kettle")).changes_nothing()


@pytest.mark.parametrize(
    "changes",
    [
        {"condition": "price < 40.0"},
        {"facts": (FactSpec(name="price", type=FactType.NUMBER),)},
        {"sources": (FeedSource(url="https://shop.example/feed"),)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_another_question_makes_the_state_unknown_again(changes: dict[str, object]) -> None:
    active = given(created(), changed(State.UNKNOWN, State.ACTIVE))
    revised = PlanRevised(prompt=PROMPT, plan=plan(**changes), state_reset=True, revised_at=LATER)
    after = active.when(revising(**changes)).then_and_only_once(revised)
    assert (after.state.state, after.state.plan_revision) == (State.UNKNOWN, 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"schedule": Every(seconds=60)},
        {"confirmations": 3},
        {"min_confidence": 0.9},
        {"fires": Fires.EACH_TIME},
        {"explanation": "said otherwise"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_another_way_of_asking_the_same_keeps_the_state(changes: dict[str, object]) -> None:
    active = given(created(), changed(State.UNKNOWN, State.ACTIVE))
    revised = PlanRevised(prompt=PROMPT, plan=plan(**changes), state_reset=False, revised_at=LATER)
    after = active.when(revising(**changes)).then_and_only_once(revised)
    assert (after.state.state, after.state.plan_revision) == (State.ACTIVE, 2)


def test_another_wording_with_the_same_plan_keeps_the_state() -> None:
    active = given(created(), changed(State.UNKNOWN, State.ACTIVE))
    revised = PlanRevised(prompt="Is it cheap?", plan=PLAN, state_reset=False, revised_at=LATER)
    after = active.when(revising("Is it cheap?")).then_and_only_once(revised)
    assert (after.state.prompt, after.state.state) == ("Is it cheap?", State.ACTIVE)


def test_the_same_prompt_and_plan_change_nothing() -> None:
    given(created()).when(revising()).changes_nothing()


def test_pausing_and_resuming_work_once_each() -> None:
    paused = given(created()).when(pausing).then_and_only_once(MonitorPaused(paused_at=LATER))
    assert paused.state.status is Status.PAUSED
    resumed = paused.when(resuming).then_and_only_once(MonitorResumed(resumed_at=LATER))
    assert resumed.state.status is Status.ACTIVE


def test_pausing_keeps_the_state() -> None:
    active = given(created(), changed(State.UNKNOWN, State.ACTIVE), PAUSED, RESUMED)
    assert active.state.state is State.ACTIVE


def test_an_active_monitor_is_deleted_once_and_so_is_a_paused_one() -> None:
    for before in (given(created()), given(created(), PAUSED)):
        after = before.when(deleting).then_and_only_once(MonitorDeleted(deleted_at=LATER))
        assert after.state.status is Status.ARCHIVED


@pytest.mark.parametrize(
    "decide",
    [renaming("Pot"), revising(confirmations=2), pausing, resuming],
    ids=["rename", "revise", "pause", "resume"],
)
@pytest.mark.parametrize("stream", [given, given(created(), DELETED)], ids=["never created", "deleted"])
def test_what_is_not_there_cannot_be_changed(stream: Given[Monitor], decide: Decide) -> None:
    stream.when(decide).is_refused(NotFound)


def test_a_deleted_monitor_is_restored_once_with_the_state_it_had() -> None:
    gone = given(created(), changed(State.UNKNOWN, State.ACTIVE), PAUSED, DELETED)
    after = gone.when(restoring()).then_and_only_once(MonitorRestored(restored_at=LATER))
    assert (after.state.status, after.state.state, after.state.plan_revision) == (Status.ACTIVE, State.ACTIVE, 1)
    after.when(deleting).then_and_only_once(MonitorDeleted(deleted_at=LATER))


def test_a_deleted_monitor_may_come_back_under_another_name() -> None:
    gone = given(created(), DELETED)
    both = MonitorRestored(restored_at=LATER), MonitorRenamed(name="Pot", renamed_at=LATER)
    assert gone.when(restoring("Pot")).then_and_only_once(*both).state.name == "Pot"
    gone.when(restoring("Kettle")).then_and_only_once(MonitorRestored(restored_at=LATER))
    gone.when(restoring("two\nlines")).is_refused(InvalidInput, field="name")


def test_only_what_was_deleted_is_restored() -> None:
    for present in (given(created()), given(created(), PAUSED)):
        present.when(restoring("Pot")).changes_nothing()
    given.when(restoring()).is_refused(NotFound)


def test_a_fork_says_where_it_comes_from() -> None:
    made = monitor.create(name="Kettle (2)", prompt=PROMPT, plan=PLAN, now=AT, forked_from=MONITOR_ID)
    assert [event.forked_from for event in made if isinstance(event, monitor.MonitorCreated)] == [MONITOR_ID]
    assert (
        monitor.evolve(Monitor(), made[0]) == given(created(), MonitorRenamed(name="Kettle (2)", renamed_at=AT)).state
    )


def checking(present: Monitor) -> Sequence[Event]:
    monitor.check_evaluable(present)
    return ()


def test_only_an_active_monitor_can_be_evaluated() -> None:
    given(created()).when(checking).changes_nothing()
    given(created(), PAUSED).when(checking).is_refused(Conflict)
    given(created(), DELETED).when(checking).is_refused(NotFound)
    given.when(checking).is_refused(NotFound)


def test_one_more_occurrence_changes_nothing_of_the_monitor() -> None:
    active = given(created(fires=Fires.EACH_TIME), changed(State.UNKNOWN, State.ACTIVE))
    assert active(met_again()).state == active.state


decisions = st.one_of(
    st.sampled_from([pausing, resuming, deleting, restoring()]),
    st.text(max_size=4).map(renaming),
    st.integers(0, 12).map(lambda n: revising(confirmations=n)),
    st.sampled_from([0.0, 1.0, 50.0]).map(lambda price: revising(condition=f"price < {price}")),
)


@for_all(st.lists(decisions, max_size=12))
def test_no_sequence_of_commands_breaks_a_monitor(commands: list[Decide]) -> None:
    """Whatever is asked in whatever order: each is decided or refused, the fold never fails, and what a decision gave is
    a change that the same decision does not give again."""
    stream = given(created())
    for decide in commands:
        outcome = stream.when(decide)
        if outcome.refusal is not None:
            assert isinstance(outcome.refusal, RuleViolation)
            continue
        assert len(outcome.events) <= 1
        stream = outcome.then_and_only_once(*outcome.events) if outcome.events else stream
    revisions = sum(isinstance(event, PlanRevised) for event in stream.events)
    assert stream.state.plan_revision == 1 + revisions
    ends = [i for i, event in enumerate(stream.events) if isinstance(event, MonitorDeleted)]
    assert (stream.state.status is Status.ARCHIVED) == (ends[-1:] == [len(stream.events) - 1])
    for end in ends:
        after = stream.events[end + 1 : end + 2]
        assert all(isinstance(event, MonitorRestored) for event in after), "a deleted monitor can only be restored"
