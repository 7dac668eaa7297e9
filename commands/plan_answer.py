"""What a model answers that compiles a prompt: the closed form it has to have, and what is made of it. Nothing in it is
believed: texts are cut and stripped, everything else is checked as if a person had sent it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from commands.asking import Malformed
from domain.classification import ClassifyRequest, Draft
from domain.errors import InvalidInput, RuleViolation
from domain.fact import FactSpec, FactType, ReadBy, Select
from domain.plan import DESCRIPTION_CHARS_MAX, FACTS_MAX, UNIT_CHARS_MAX, Fires
from domain.schedule import Cron, Every, Schedule
from domain.source import HttpSource

NAME_CHARS, EXPLANATION_CHARS_MAX, QUERY_CHARS_MAX, QUESTION_CHARS_MAX = 60, 1_000, 300, 300
"""What is longer is cut."""
QUESTIONS_MAX = 5
ANSWER_CHARS_MAX = 100_000
"""Three thousand tokens are a tenth of that; a provider may not keep to them."""
EXPRESSION_CHARS_MAX = 2_000
"""Of conditions and selectors, which mean something else when they are cut: what is longer is garbage."""

SELECT_KINDS: tuple[str, ...] = tuple(name for name in Select.__struct_fields__ if name != "csv_row")


class SelectAnswer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a fact stands: one way of selecting it, and what narrows it."""

    kind: str
    value: str
    regex: str | None


class FactAnswer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fact."""

    name: str
    type: FactType
    unit: str | None
    description: str
    read_by: ReadBy
    select: SelectAnswer | None


class ScheduleAnswer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often to look: either an interval or a cron line."""

    every_seconds: int | None
    cron: str | None
    timezone: str | None


class PlanAnswer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A compiled prompt; with `questions` it is none yet, and without facts it never will be: `explanation` says why."""

    name: str
    facts: list[FactAnswer]
    condition: str
    reset_condition: str | None
    fires: Fires | None
    schedule: ScheduleAnswer | None
    explanation: str
    search_query: str | None
    questions: list[str]


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _or_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"anyOf": [dict(schema), {"type": "null"}]}


def _one_of(values: type[FactType | ReadBy | Fires]) -> dict[str, Any]:
    return {"type": "string", "enum": [one.value for one in values]}


_TEXT = {"type": "string"}
_SELECT = _object({"kind": {"type": "string", "enum": list(SELECT_KINDS)}, "value": _TEXT, "regex": _or_null(_TEXT)})
_FACT = _object(
    {
        "name": _TEXT,
        "type": _one_of(FactType),
        "unit": _or_null(_TEXT),
        "description": _TEXT,
        "read_by": _one_of(ReadBy),
        "select": _or_null(_SELECT),
    }
)
_SCHEDULE = _object(
    {"every_seconds": _or_null({"type": "integer"}), "cron": _or_null(_TEXT), "timezone": _or_null(_TEXT)}
)
PLAN_SCHEMA: Mapping[str, Any] = MappingProxyType(
    _object(
        {
            "name": _TEXT,
            "facts": {"type": "array", "items": _FACT},
            "condition": _TEXT,
            "reset_condition": _or_null(_TEXT),
            "fires": _or_null(_one_of(Fires)),
            "schedule": _or_null(_SCHEDULE),
            "explanation": _TEXT,
            "search_query": _or_null(_TEXT),
            "questions": {"type": "array", "items": _TEXT},
        }
    )
)
"""Without bounds, which not every provider takes; `decode_plan` has them."""

_decoder = msgspec.json.Decoder(PlanAnswer)


def decode_plan(text: str) -> PlanAnswer:
    """The answer, with every text in bounds and in one line; raises `msgspec.DecodeError` or `Malformed`."""
    if len(text) > ANSWER_CHARS_MAX:
        raise Malformed(f"it has more than {ANSWER_CHARS_MAX} characters")
    answer = _decoder.decode(text)
    if len(answer.facts) > FACTS_MAX:
        raise Malformed(f"{len(answer.facts)} facts are more than a plan may have ({FACTS_MAX})")
    questions = [asked for one in answer.questions if (asked := told(one, QUESTION_CHARS_MAX))]
    return msgspec.structs.replace(
        answer,
        name=told(answer.name, NAME_CHARS),
        facts=[_plain_fact(fact) for fact in answer.facts],
        condition=_expression(answer.condition),
        reset_condition=_expression(answer.reset_condition or "") or None,
        explanation=told(answer.explanation, EXPLANATION_CHARS_MAX),
        search_query=told(answer.search_query or "", QUERY_CHARS_MAX) or None,
        questions=questions[:QUESTIONS_MAX],
    )


def draft_of(answer: PlanAnswer, request: ClassifyRequest) -> Draft:
    """The draft that an answer comes to; what the person gave stays as it is. Raises `InvalidInput`."""
    facts = request.facts
    if facts is None:
        facts = tuple(_fact(fact, f"facts[{i}]", request) for i, fact in enumerate(answer.facts))
    may_end_otherwise = request.condition is None and request.reset_condition is None
    return Draft(
        facts=facts,
        condition=answer.condition if request.condition is None else request.condition,
        explanation=answer.explanation,
        schedule=request.schedule or _schedule(answer.schedule) or request.schedule_default,
        name=answer.name or told(request.prompt, NAME_CHARS) or "Monitor",
        fires=answer.fires if request.condition is None else None,
        reset_condition=answer.reset_condition if may_end_otherwise and request.fires is not Fires.EACH_TIME else None,
        search_query=answer.search_query,
    )


def told(text: str, chars_max: int) -> str:
    """A text as it is shown: in one line, without what cannot be seen, cut between words."""
    plain = _plain(text)
    return plain if len(plain) <= chars_max else plain[: chars_max - 1].rsplit(" ", 1)[0] + "…"


def _plain(text: str) -> str:
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _expression(text: str) -> str:
    """Spaces count within quotes and patterns, so they are left."""
    if len(text) > EXPRESSION_CHARS_MAX:
        raise Malformed(f"an expression has {len(text)} characters; the longest may have {EXPRESSION_CHARS_MAX}")
    return "".join(char if char.isprintable() else " " for char in text).strip()


def _plain_fact(fact: FactAnswer) -> FactAnswer:
    select = fact.select
    if select is not None:
        value, regex = _expression(select.value), _expression(select.regex or "")
        select = SelectAnswer(kind=select.kind, value=value, regex=regex or None)
    return msgspec.structs.replace(
        fact,
        name=_plain(fact.name),
        unit=_plain(fact.unit or "")[:UNIT_CHARS_MAX] or None,
        description=told(fact.description, DESCRIPTION_CHARS_MAX),
        select=select,
    )


def _fact(fact: FactAnswer, field: str, request: ClassifyRequest) -> FactSpec:
    spec = FactSpec(
        name=fact.name,
        type=fact.type,
        unit=fact.unit,
        description=fact.description or None,
        select=None if fact.select is None else _select(fact.select, f"{field}.select"),
        read_by=fact.read_by,
    )
    whole = {FactType.TEXT, FactType.LIST}
    if spec.read_by is ReadBy.SELECTION and spec.select is None and spec.type not in whole and not _narrowed(request):
        raise InvalidInput(
            f"a {spec.type} is not the whole text of a source: select where it stands, or let a model read it",
            field=f"{field}.select",
        )
    return spec


def _narrowed(request: ClassifyRequest) -> bool:
    return any(isinstance(source, HttpSource) and source.select is not None for source in request.sources)


def _select(answer: SelectAnswer, field: str) -> Select:
    if answer.kind not in SELECT_KINDS:
        raise InvalidInput(f"{answer.kind!r} is no way to select; there are {', '.join(SELECT_KINDS)}", field=field)
    if answer.kind == "regex":
        return Select(regex=answer.value)
    return Select(**{answer.kind: answer.value}, regex=answer.regex)


def _schedule(answer: ScheduleAnswer | None) -> Schedule | None:
    if answer is None or (answer.every_seconds is None and answer.cron is None):
        return None
    if answer.every_seconds is not None and answer.cron is not None:
        raise InvalidInput("give either every_seconds or cron", field="schedule")
    if answer.every_seconds is not None:
        return Every(seconds=answer.every_seconds)
    return Cron(line=_plain(answer.cron or ""), timezone=_plain(answer.timezone or "") or "UTC")


def reason_of(mistake: RuleViolation) -> str:
    """A mistake as the one who made it is told: the field, and what is wrong there."""
    return f"{mistake.field}: {mistake.message}" if mistake.field else mistake.message
