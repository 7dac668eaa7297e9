"""The monitor aggregate: what a person asked to be watched, and the state it is in."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from domain.errors import Conflict, InvalidInput, NotFound
from domain.event import Event, stored_as
from domain.personal_data import Personal
from domain.plan import NAME_CHARS_MAX, PROMPT_CHARS_MAX, PROMPT_CHARS_MIN, Plan, check_plan


class Status(StrEnum):
    """Whether a monitor is evaluated: `new` before its first event, `archived` after it was deleted."""

    NEW = "new"
    ACTIVE = "active"
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


@stored_as("monitor.created", personal={"name": Personal.TEXT, "prompt": Personal.TEXT, **_PERSONAL_IN_PLAN})
class MonitorCreated(Event, frozen=True, kw_only=True):
    """A person asked to watch something; the prompt was compiled into a plan."""

    name: str
    prompt: str
    plan: Plan
    created_at: datetime


@stored_as("monitor.renamed", personal={"name": Personal.TEXT})
class MonitorRenamed(Event, frozen=True, kw_only=True):
    """The monitor got another name."""

    name: str
    renamed_at: datetime


@stored_as("monitor.plan_revised", personal={"prompt": Personal.TEXT, **_PERSONAL_IN_PLAN})
class PlanRevised(Event, frozen=True, kw_only=True):
    """The prompt or its plan was changed. When what is asked changed (`state_reset`), the state starts again at unknown."""

    prompt: str
    plan: Plan
    state_reset: bool
    revised_at: datetime


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
    """The monitor was put away for good; its history stays."""

    deleted_at: datetime


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
    | StateChanged
    | ConditionMetAgain
)


@dataclass(frozen=True, slots=True)
class Monitor:
    """A monitor as the events so far tell it. `plan_revision` counts plans from 1."""

    status: Status = Status.NEW
    name: str = ""
    prompt: str = ""
    plan: Plan | None = None
    plan_revision: int = 0
    state: State = State.UNKNOWN

    @property
    def current_plan(self) -> Plan:
        """The plan; raises `NotFound` for a monitor that was never created."""
        if self.plan is None:
            raise NotFound
        return self.plan


def evolve(monitor: Monitor, event: MonitorEvent) -> Monitor:
    """The monitor after `event`."""
    match event:
        case MonitorCreated(name=name, prompt=prompt, plan=plan):
            return Monitor(status=Status.ACTIVE, name=name, prompt=prompt, plan=plan, plan_revision=1)
        case MonitorRenamed(name=name):
            return replace(monitor, name=name)
        case PlanRevised(prompt=prompt, plan=plan, state_reset=reset):
            state = State.UNKNOWN if reset else monitor.state
            return replace(monitor, prompt=prompt, plan=plan, plan_revision=monitor.plan_revision + 1, state=state)
        case MonitorPaused():
            return replace(monitor, status=Status.PAUSED)
        case MonitorResumed():
            return replace(monitor, status=Status.ACTIVE)
        case MonitorDeleted():
            return replace(monitor, status=Status.ARCHIVED)
        case StateChanged(to_state=state):
            return replace(monitor, state=state)
        case ConditionMetAgain():
            return monitor


def create(*, name: str, prompt: str, plan: Plan, now: datetime) -> list[MonitorEvent]:
    """A new monitor; its name and prompt are checked and its plan must be one an evaluation can serve."""
    _check_name(name)
    check_prompt(prompt)
    check_plan(plan)
    return [MonitorCreated(name=name, prompt=prompt, plan=plan, created_at=now)]


def rename(monitor: Monitor, *, name: str, now: datetime) -> list[MonitorEvent]:
    """Give another name; the same name changes nothing."""
    _must_exist(monitor)
    _check_name(name)
    return [] if name == monitor.name else [MonitorRenamed(name=name, renamed_at=now)]


def revise(monitor: Monitor, *, prompt: str, plan: Plan, now: datetime) -> list[MonitorEvent]:
    """Change the prompt or plan. Another question (condition, facts, sources) makes the state unknown again; another
    schedule or another wording does not."""
    _must_exist(monitor)
    check_prompt(prompt)
    check_plan(plan)
    if prompt == monitor.prompt and plan == monitor.plan:
        return []
    old = monitor.current_plan
    asks_otherwise = (plan.condition, plan.facts, plan.sources) != (old.condition, old.facts, old.sources)
    return [PlanRevised(prompt=prompt, plan=plan, state_reset=asks_otherwise, revised_at=now)]


def pause(monitor: Monitor, *, now: datetime) -> list[MonitorEvent]:
    """Stop evaluating; pausing a paused monitor changes nothing."""
    _must_exist(monitor)
    return [] if monitor.status is Status.PAUSED else [MonitorPaused(paused_at=now)]


def resume(monitor: Monitor, *, now: datetime) -> list[MonitorEvent]:
    """Evaluate again; resuming an active monitor changes nothing."""
    _must_exist(monitor)
    return [] if monitor.status is Status.ACTIVE else [MonitorResumed(resumed_at=now)]


def delete(monitor: Monitor, *, now: datetime) -> list[MonitorEvent]:
    """Put away; deleting twice changes nothing."""
    return [] if monitor.status is Status.ARCHIVED else [MonitorDeleted(deleted_at=now)]


def check_evaluable(monitor: Monitor) -> None:
    """Refuse to evaluate what is paused or gone."""
    _must_exist(monitor)
    if monitor.status is Status.PAUSED:
        raise Conflict("this monitor is paused; resume it first")


def check_prompt(prompt: str) -> None:
    """Refuse a prompt that says nothing or too much, with `InvalidInput`."""
    if len(prompt.strip()) < PROMPT_CHARS_MIN or len(prompt) > PROMPT_CHARS_MAX:
        raise InvalidInput(f"a prompt is {PROMPT_CHARS_MIN} to {PROMPT_CHARS_MAX} characters", field="prompt")


def _must_exist(monitor: Monitor) -> None:
    if monitor.status in {Status.NEW, Status.ARCHIVED}:
        raise NotFound


def _check_name(name: str) -> None:
    if not 1 <= len(name.strip()) <= NAME_CHARS_MAX or not name.isprintable():
        raise InvalidInput(f"a name is 1 to {NAME_CHARS_MAX} printable characters", field="name")
