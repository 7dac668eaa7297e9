"""Prompts with the plans they should become, in terms that can be checked: not the wording of a condition counts, but what it
says of values. The corpus is `tests/adapters/plan_corpus.json`."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from uuid import UUID

import msgspec

from adapters.cel_condition import CelConditionLanguage
from commands.judging import Judge
from commands.plan_compiler import PlanCompiler, Wish
from commands.shapes import parse_duration
from domain.errors import AiBudgetExceeded, AiUnavailable, PromptAmbiguous, RuleViolation
from domain.evaluation import Previous, Verdict
from domain.fact import Fact, FactType, FactValue
from domain.history import Observation, observation_of
from domain.monitor import State
from domain.plan import Fires, Kind, Plan
from domain.schedule import Cron, Every, Schedule, next_due
from domain.source import FeedSource, HttpSource, SearchSource, SignalSource, Source

CORPUS = Path(__file__).parents[1] / "tests/adapters/plan_corpus.json"
NOW = datetime(2026, 3, 4, 9, 30, tzinfo=UTC)
"""A Wednesday."""
NOBODY = UUID(int=0)
INSTANTS = 5
"""Two schedules of which so many instants in a row are the same are taken for the same."""

SOURCES: Mapping[str, Source] = {
    "http": HttpSource(url="https://page.example.com/"),
    "feed": FeedSource(url="https://news.example.com/feed"),
    "signal": SignalSource(id=NOBODY),
    "search": SearchSource(query="what the prompt says"),
}

CONDITIONS = CelConditionLanguage()


class Outcome(StrEnum):
    """What became of a prompt: a plan, questions, a refusal; or nobody could say, for want of a provider or of money."""

    PLAN = "plan"
    QUESTIONS = "questions"
    REFUSAL = "refusal"
    UNAVAILABLE = "unavailable"


class Probe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Values of facts, one for each look, `step` apart, the last one now (one alone: the first look), and whether the monitor is
    active, or a verdict met, after it."""

    values: dict[str, list[FactValue]]
    met: bool
    step: str = "P1D"


class Expected(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A plan that a prompt may become: the types of its facts by what probes call them."""

    facts: dict[str, FactType]
    kind: Kind
    fires: Fires
    probes: list[Probe]


class Case(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A prompt, the kinds of its sources, what may become of it, and what does at the built-in rules. `schedules` are those it
    may have, where it says one; `watches` are the addresses (or `search`) that it leads to, where none is given."""

    prompt: str
    expect: tuple[Outcome, ...]
    rules: Outcome
    about: str
    sources: tuple[str, ...] = ("http",)
    plans: tuple[Expected, ...] = ()
    schedules: tuple[str, ...] = ()
    watches: tuple[str, ...] = ()


class Corpus(msgspec.Struct, frozen=True):
    """All cases."""

    cases: list[Case]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of a case: `wrong` says what is not as it should be."""

    case: Case
    outcome: Outcome
    said: str
    plan: Plan | None = None
    wrong: Sequence[str] = ()


def read_cases(path: Path = CORPUS) -> list[Case]:
    """The cases of a corpus; raises `msgspec.ValidationError`."""
    return msgspec.json.decode(path.read_bytes(), type=Corpus).cases


async def play(case: Case, compiler: PlanCompiler, owner_id: UUID = NOBODY) -> Result:
    """Have a prompt compiled, and see what came of it."""
    wish = Wish(
        prompt=case.prompt,
        name=None,
        sources=tuple(SOURCES[kind] for kind in case.sources),
        schedule=None,
        condition=None,
        facts=None,
        confirmations=1,
        min_confidence=0.5,
        fires=None,
    )
    try:
        _, plan = await compiler.compile(wish, owner_id=owner_id)
    except PromptAmbiguous as asked:
        return _result(case, Outcome.QUESTIONS, " ".join(asked.questions))
    except (AiUnavailable, AiBudgetExceeded) as failed:
        return _result(case, Outcome.UNAVAILABLE, failed.message)
    except RuleViolation as refused:
        return _result(case, Outcome.REFUSAL, refused.message)
    said = f"{plan.condition}  [{', '.join(f'{one.name} {one.type}' for one in plan.facts)}]"
    wrong = await differences(case, plan) if Outcome.PLAN in case.expect else ()
    return _result(case, Outcome.PLAN, said, plan, wrong)


def _result(case: Case, outcome: Outcome, said: str, plan: Plan | None = None, wrong: Sequence[str] = ()) -> Result:
    if outcome not in case.expect:
        wrong = [f"{' or '.join(case.expect)} was expected, and this is a {outcome}"]
    return Result(case=case, outcome=outcome, said=said, plan=plan, wrong=wrong)


async def differences(case: Case, plan: Plan) -> list[str]:
    """What of a plan is not as a case says; of several plans that may be, the nearest counts."""
    found = [await _from_expected(expected, plan) for expected in case.plans]
    wrong = min(found, key=len) if found else []
    if case.schedules and not any(_is_same(plan.schedule, text) for text in case.schedules):
        wrong = [*wrong, f"looks {_schedule_text(plan.schedule)}, not {' or '.join(case.schedules)}"]
    watched = [
        source.query and "search" if isinstance(source, SearchSource) else _address(source) for source in plan.sources
    ]
    if case.watches and tuple(watched) != case.watches:
        wrong = [*wrong, f"watches {', '.join(watched)}, not {', '.join(case.watches)}"]
    return wrong


async def _from_expected(expected: Expected, plan: Plan) -> list[str]:
    wrong: list[str] = []
    if plan.kind is not expected.kind:
        wrong.append(f"the kind is {plan.kind}, not {expected.kind}")
    if plan.fires is not expected.fires:
        wrong.append(f"fires {plan.fires}, not {expected.fires}")
    readings = list(_readings(expected, plan))
    if not readings:
        types = ", ".join(f"{name} {kind}" for name, kind in expected.facts.items())
        return [*wrong, f"the facts are {', '.join(f'{one.name} {one.type}' for one in plan.facts)}, not {types}"]
    return wrong + min([await _probed(expected, plan, names) for names in readings], key=len)


def _readings(expected: Expected, plan: Plan) -> list[dict[str, str]]:
    """Every way to take the plan's facts for those of the probes, by what probes call them."""
    wanted = list(expected.facts)
    types = {one.name: one.type for one in plan.facts}
    return [
        dict(zip(wanted, names, strict=True))
        for names in itertools.permutations(types, len(wanted))
        if all(types[name] is expected.facts[role] for role, name in zip(wanted, names, strict=True))
    ]


async def _probed(expected: Expected, plan: Plan, names: Mapping[str, str]) -> list[str]:
    wrong: list[str] = []
    for probe in expected.probes:
        said = await _said(plan, probe, names)
        if said is not (Verdict.MET if probe.met else Verdict.NOT_MET):
            values = ", ".join(f"{role} {values}" for role, values in probe.values.items())
            wrong.append(f"{plan.condition} is {said} at {values}, not {'met' if probe.met else 'not met'}")
    return wrong


async def _said(plan: Plan, probe: Probe, names: Mapping[str, str]) -> Verdict:
    """The verdict after the last look of a probe, each look judged as in earnest."""
    looks = max(map(len, probe.values.values()))
    step = parse_duration(probe.step, field="step")
    history = _Seen({names[role]: [] for role in probe.values})
    state, previous, verdict = State.UNKNOWN, Previous(), Verdict.INCONCLUSIVE
    for place in range(looks):
        at = NOW - step * (looks - 1 - place)
        facts = {names[role]: _fact(plan, names[role], values[place], at) for role, values in probe.values.items()}
        judged = await Judge(CONDITIONS, history).judge(NOBODY, plan, facts, now=at, state=state, previous=previous)
        verdict = judged.verdict
        state = {Verdict.MET: State.ACTIVE, Verdict.NOT_MET: State.INACTIVE}.get(verdict, state)
        previous = Previous(verdict=verdict, condition=judged.condition, held_since=judged.held_since)
        for name, fact in facts.items():
            history.seen[name].append(observation_of(fact))
    return verdict


def _fact(plan: Plan, name: str, value: FactValue, at: datetime) -> Fact:
    kind = next(one.type for one in plan.facts if one.name == name)
    return Fact(
        name=name,
        type=kind,
        value=float(value) if kind is FactType.NUMBER and isinstance(value, int | float) else value,
        quote=str(value),
        source_url="https://page.example.com/",
        evidence_hash="",
        observed_at=at,
    )


@dataclass(frozen=True, slots=True)
class _Seen:
    """Fulfils `FactHistory` with the values of a probe; nobody was ever told anything."""

    seen: dict[str, list[Observation]]

    async def series(
        self, monitor_id: UUID, fact: str, *, since: datetime | None, since_revision: int, confidence_min: float
    ) -> list[Observation]:
        """All of them: who asks takes what is within reach."""
        del monitor_id, since, since_revision, confidence_min
        return list(self.seen.get(fact, ()))

    async def last_notified(
        self, monitor_id: UUID, fact: str, *, since_revision: int, confidence_min: float
    ) -> Observation | None:
        """Nothing."""
        del monitor_id, fact, since_revision, confidence_min
        return None


def _address(source: Source) -> str:
    return source.url if isinstance(source, HttpSource | FeedSource) else "signal"


def _is_same(schedule: Schedule, text: str) -> bool:
    """Whether a schedule is due when the one in a text is: `every PT10M`, or `0 8 * * * Europe/Berlin`."""
    return _instants(schedule) == _instants(_schedule(text))


def _schedule(text: str) -> Schedule:
    head, _, rest = text.partition(" ")
    if head == "every":
        return Every(seconds=parse_duration(rest, field="schedules") // timedelta(seconds=1))
    line, _, zone = text.rpartition(" ")
    return Cron(line=line, timezone=zone)


def _instants(schedule: Schedule) -> list[datetime]:
    found = [NOW]
    for _ in range(INSTANTS):
        found.append(next_due(schedule, after=found[-1]))
    return found


def _schedule_text(schedule: Schedule) -> str:
    match schedule:
        case Every(seconds=seconds):
            return f"every {seconds} s"
        case Cron(line=line, timezone=timezone):
            return f"{line} {timezone}"
