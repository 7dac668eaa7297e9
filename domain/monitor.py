"""The monitor aggregate: what a person asked to be watched, and the state it is in."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from domain.errors import Conflict, NotFound
from domain.event import Event, stored_as
from domain.monitor_health import MonitorFailing, MonitorRecovered
from domain.name import check_name
from domain.personal_data import Personal
from domain.plan import Plan, asks_otherwise, check_plan, check_prompt, read_alike
from domain.upcasting import Fields, upcasts


class Status(StrEnum):
    """Whether a monitor is evaluated: `new` before its first event, `archived` after it was deleted. One that is `failing` is
    evaluated like an active one, but its sources could not be read lately."""

    NEW = "new"
    ACTIVE = "active"
    FAILING = "failing"
    PAUSED = "paused"
    ARCHIVED = "archived"


class State(StrEnum):
    """Whether the condition holds, as far as anyone has been told."""

    UNKNOWN = "unknown"
    INACTIVE = "inactive"
    ACTIVE = "active"


_PERSONAL_IN_PLAN = {
    "plan.explanation": Personal.TEXT,
    "plan.facts.*.description": Personal.TEXT,
    "plan.sources.*.headers": Personal.MAPPING,
}


@stored_as("monitor.created", version=3, personal={"name": Personal.TEXT, "prompt": Personal.TEXT, **_PERSONAL_IN_PLAN})
class MonitorCreated(Event, frozen=True, kw_only=True):
    """A person asked to watch something; the prompt was compiled into a plan, or taken over from the monitor
    `forked_from`."""

    name: str
    prompt: str
    plan: Plan
    created_at: datetime
    forked_from: UUID | None = None


@upcasts("monitor.created", from_version=1)
def _name_no_origin(fields: Fields) -> Fields:
    return fields | {"forked_from": None}


@upcasts("monitor.created", from_version=2)
@upcasts("monitor.plan_revised", from_version=2)
def _ask_no_model(fields: Fields) -> Fields:
    """Nothing was read by a model; what says so has defaults."""
    return fields


@stored_as("monitor.renamed", personal={"name": Personal.TEXT})
class MonitorRenamed(Event, frozen=True, kw_only=True):
    """The monitor got another name."""

    name: str
    renamed_at: datetime


@stored_as("monitor.plan_revised", version=3, personal={"prompt": Personal.TEXT, **_PERSONAL_IN_PLAN})
class PlanRevised(Event, frozen=True, kw_only=True):
    """The prompt or its plan was changed. When what is asked changed (`state_reset`), the state starts again at unknown."""

    prompt: str
    plan: Plan
    state_reset: bool
    revised_at: datetime


@upcasts("monitor.plan_revised", from_version=1)
def _leave_the_plan(fields: Fields) -> Fields:
    """Plans of version 1 had no fields that the present ones lack."""
    return fields


@stored_as("monitor.paused")
class MonitorPaused(Event, frozen=True, kw_only=True):
    """The monitor is not evaluated until it is resumed."""

    paused_at: datetime


@stored_as("monitor.resumed")
class MonitorResumed(Event, frozen=True, kw_only=True):
    """The monitor is evaluated again."""

    resumed_at: datetime


@stored_as("monitor.deleted")
class MonitorDeleted(Event, frozen=True, kw_only=True):
    """The monitor was put away until it is restored, if ever; its history stays."""

    deleted_at: datetime


@stored_as("monitor.restored")
class MonitorRestored(Event, frozen=True, kw_only=True):
    """The monitor was taken out again and is evaluated from now on, with the state it was put away in."""

    restored_at: datetime


@stored_as("monitor.state_changed")
class StateChanged(Event, frozen=True, kw_only=True):
    """An evaluation moved the monitor from one state to another."""

    from_state: State
    to_state: State
    evaluation_id: UUID
    changed_at: datetime


@stored_as("monitor.condition_met_again")
class ConditionMetAgain(Event, frozen=True, kw_only=True):
    """The condition was met once more while active, in a monitor that fires each time."""

    evaluation_id: UUID
    met_at: datetime


MonitorEvent = (
    MonitorCreated
    | MonitorRenamed
    | PlanRevised
    | MonitorPaused
    | MonitorResumed
    | MonitorDeleted
    | MonitorRestored
    | StateChanged
    | ConditionMetAgain
    | MonitorFailing
    | MonitorRecovered
)


@dataclass(frozen=True, slots=True)
class Monitor:
    """A monitor as the events so far tell it. `plan_revision` counts plans from 1, `question_revision` is the one that asked
    otherwise last, and `read_since` tells of a fact since which it is read as it is now (it says nothing of one that always
    was). `watched_since` is when it was last asked for, revised or resumed: what failed before does not count any more.
    `failing` is there while the status is failing."""

    status: Status = Status.NEW
    name: str = ""
    prompt: str = ""
    plan: Plan | None = None
    plan_revision: int = 0
    question_revision: int = 0
    read_since: dict[str, int] = field(default_factory=dict)
    state: State = State.UNKNOWN
    watched_since: datetime | None = None
    failing: MonitorFailing | None = None

    @property
    def current_plan(self) -> Plan:
        """The plan; raises `NotFound` for a monitor that was never created."""
        if self.plan is None:
            raise NotFound
        return self.plan


def evolve(monitor: Monitor, event: MonitorEvent) -> Monitor:
    """The monitor after `event`."""
    match event:
        case MonitorCreated(name=name, prompt=prompt, plan=plan, created_at=at):
            return Monitor(Status.ACTIVE, name, prompt, plan, plan_revision=1, question_revision=1, watched_since=at)
        case MonitorRenamed(name=name):
            return replace(monitor, name=name)
        case PlanRevised(prompt=prompt, plan=plan, state_reset=reset, revised_at=at):
            revision = monitor.plan_revision + 1
            return replace(
                monitor,
                status=Status.ACTIVE if monitor.status is Status.FAILING else monitor.status,
                prompt=prompt,
                plan=plan,
                plan_revision=revision,
                question_revision=revision if reset else monitor.question_revision,
                read_since=_read_since(monitor, plan, revision),
                state=State.UNKNOWN if reset else monitor.state,
                watched_since=at,
                failing=None,
            )
        case MonitorPaused():
            return replace(monitor, status=Status.PAUSED, failing=None)
        case MonitorResumed(resumed_at=at) | MonitorRestored(restored_at=at):
            return replace(monitor, status=Status.ACTIVE, watched_since=at, failing=None)
        case MonitorDeleted():
            return replace(monitor, status=Status.ARCHIVED, failing=None)
        case MonitorFailing():
            return replace(monitor, status=Status.FAILING, failing=event)
        case MonitorRecovered():
            return replace(monitor, status=Status.ACTIVE, failing=None)
        case StateChanged(to_state=state):
            return replace(monitor, state=state)
        case ConditionMetAgain():
            return monitor


def _read_since(monitor: Monitor, plan: Plan, revision: int) -> dict[str, int]:
    alike = frozenset[str]() if monitor.plan is None else read_alike(plan, monitor.plan)
    kept = {name: since for name, since in monitor.read_since.items() if name in alike}
    return kept | {fact.name: revision for fact in plan.facts if fact.name not in alike}


def create(*, name: str, prompt: str, plan: Plan, now: datetime, forked_from: UUID | None = None) -> list[MonitorEvent]:
    """A new monitor; its name and prompt are checked and its plan must be one an evaluation can serve."""
    check_name(name)
    check_prompt(prompt)
    check_plan(plan)
    return [MonitorCreated(name=name, prompt=prompt, plan=plan, created_at=now, forked_from=forked_from)]


def rename(monitor: Monitor, *, name: str, now: datetime) -> list[MonitorEvent]:
    """Give another name; the same name changes nothing."""
    check_exists(monitor)
    check_name(name)
    return [] if name == monitor.name else [MonitorRenamed(name=name, renamed_at=now)]


def revise(monitor: Monitor, *, prompt: str, plan: Plan, now: datetime) -> list[MonitorEvent]:
    """Change the prompt or plan. Another question (condition, facts, sources) makes the state unknown again; another
    schedule or another wording does not."""
    check_exists(monitor)
    check_prompt(prompt)
    check_plan(plan)
    if prompt == monitor.prompt and plan == monitor.plan:
        return []
    reset = asks_otherwise(plan, monitor.current_plan)
    return [PlanRevised(prompt=prompt, plan=plan, state_reset=reset, revised_at=now)]


def pause(monitor: Monitor, *, now: datetime) -> list[MonitorEvent]:
    """Stop evaluating; pausing a paused monitor changes nothing."""
    check_exists(monitor)
    return [] if monitor.status is Status.PAUSED else [MonitorPaused(paused_at=now)]


def resume(monitor: Monitor, *, now: datetime) -> list[MonitorEvent]:
    """Evaluate again; resuming an active monitor changes nothing, and a failing one begins anew."""
    check_exists(monitor)
    return [] if monitor.status is Status.ACTIVE else [MonitorResumed(resumed_at=now)]


def delete(monitor: Monitor, *, now: datetime) -> list[MonitorEvent]:
    """Put away; deleting twice changes nothing."""
    return [] if monitor.status is Status.ARCHIVED else [MonitorDeleted(deleted_at=now)]


def restore(monitor: Monitor, *, name: str | None, now: datetime) -> list[MonitorEvent]:
    """Take out again what was put away, under another name if one is given; one that is not put away stays as it is.
    Raises `NotFound` for a monitor that was never created, `InvalidInput`."""
    if monitor.status is Status.NEW:
        raise NotFound
    if monitor.status is not Status.ARCHIVED:
        return []
    restored = MonitorRestored(restored_at=now)
    return [restored, *(() if name is None else rename(evolve(monitor, restored), name=name, now=now))]


def check_evaluable(monitor: Monitor) -> None:
    """Refuse to evaluate what is paused or gone."""
    check_exists(monitor)
    if monitor.status is Status.PAUSED:
        raise Conflict("this monitor is paused; resume it first")


def check_exists(monitor: Monitor) -> None:
    """Raise `NotFound` for a monitor that was never created or is deleted."""
    if monitor.status in {Status.NEW, Status.ARCHIVED}:
        raise NotFound
