"""Making the people of the API's benchmark: through the store and past the API, so that no password is hashed."""

from datetime import timedelta
from uuid import UUID

from uuid_utils.compat import uuid7

from benchmarks.api_users import User
from benchmarks.evaluate import plan_of
from bootstrap.now_and_new import utc_now
from bootstrap.parts import Parts
from commands.event_store import Companion, KeepSchedule, Reserve
from domain.evaluation import EvaluationCompleted, Evidence, FactExtracted, Verdict
from domain.event import Metadata, NewEvents
from domain.fact import Fact, FactType
from domain.monitor import MonitorCreated, State
from domain.plan import Plan
from domain.user import UserRegistered

MONITORS_EACH, WITH_HISTORY, EVALUATIONS_EACH = 20, 5, 25
"""So many monitors a person has, of so many of them so many evaluations are told."""


async def make_people(parts: Parts, count: int, site: int) -> tuple[list[User], int]:
    """People with monitors, some of which were evaluated before; and how many events that took."""
    made = [await _make_person(parts, number, site) for number in range(count)]
    return [user for user, _ in made], sum(events for _, events in made)


async def _make_person(parts: Parts, number: int, site: int) -> tuple[User, int]:
    now, owner = utc_now(), uuid7()
    person = UserRegistered(email=f"p{number}@example.org", name="P", timezone="UTC", registered_at=now)
    new = [NewEvents(stream_id=owner, owner_id=owner, expected_version=0, events=(person,))]
    companions: list[Companion] = []
    monitors = {uuid7(): plan_of(number * MONITORS_EACH + n, site) for n in range(MONITORS_EACH)}
    for n, (monitor_id, plan) in enumerate(monitors.items()):
        name, created_at = f"Item {n}", now - timedelta(hours=EVALUATIONS_EACH + 1)
        created = MonitorCreated(name=name, prompt="Tell me when it is cheap", plan=plan, created_at=created_at)
        new.append(NewEvents(stream_id=monitor_id, owner_id=owner, expected_version=0, events=(created,)))
        later = now + timedelta(days=365)
        companions += [
            KeepSchedule(monitor_id, owner, plan.schedule, active=True, due_at=later),
            Reserve(f"monitor-name:{owner}", name.casefold(), monitor_id),
            Reserve(f"active-monitor:{owner}", str(monitor_id), monitor_id),
        ]
    last: list[UUID] = []
    for monitor_id in list(monitors)[:WITH_HISTORY]:
        evaluations = [uuid7() for _ in range(EVALUATIONS_EACH)]
        for hour, evaluation_id in enumerate(evaluations):
            seen_at = now - timedelta(hours=EVALUATIONS_EACH - hour)
            seen = Evidence(url="http://127.0.0.1/", outcome="ok", hash="0" * 64, fetched_at=seen_at)
            events = _evaluation(monitor_id, monitors[monitor_id], 100.0 + hour, seen)
            new.append(NewEvents(stream_id=evaluation_id, owner_id=owner, expected_version=0, events=events))
        last.append(evaluations[-1])
    await parts.store.append(new, metadata=Metadata(correlation_id=owner, actor="benchmark"), companions=companions)
    token, _ = parts.tokens.issue(owner, frozenset({"member"}), now=now)
    return User(token, list(monitors), last), sum(len(one.events) for one in new)


def _evaluation(
    monitor_id: UUID, plan: Plan, price: float, seen: Evidence
) -> tuple[FactExtracted, EvaluationCompleted]:
    """One of a monitor whose condition was not met."""
    fact = Fact(
        name="price",
        type=FactType.NUMBER,
        value=price,
        quote=str(price),
        source_url=seen.url,
        evidence_hash="0" * 64,
        observed_at=seen.fetched_at,
    )
    completed = EvaluationCompleted(
        monitor_id=monitor_id,
        plan_revision=1,
        due_at=seen.fetched_at,
        verdict=Verdict.NOT_MET,
        state_before=State.INACTIVE,
        state_after=State.INACTIVE,
        condition=plan.condition,
        inputs={"price": price},
        streak=1,
        evidence=(seen,),
        provider="rules",
        duration_ms=3,
        started_at=seen.fetched_at,
        completed_at=seen.fetched_at,
    )
    return FactExtracted(monitor_id=monitor_id, fact=fact), completed
