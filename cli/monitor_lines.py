"""Monitors and evaluations as lines for people. Nothing in them steers a terminal."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from cli.api_client import Json
from domain.budget import dollars
from domain.forecast import BATCHED

LABEL_CHARS = 12
QUOTE_CHARS_MAX = 80
COUNTED_WHOLE_MIN = 10
"""So many calls a day, and no fractions matter."""


def monitor_lines(monitor: Json, *, now: datetime) -> list[str]:
    """A monitor with its plan."""
    failing = monitor.get("failing")
    return [
        f"{_plain(monitor['name'])}  {monitor['id']}",
        _row("state", monitor["state"]),
        _row("status", monitor["status"]),
        *([_row("failing", f"since {failing['since']}: {_plain(failing['message'])}")] if failing else []),
        _row("prompt", _plain(monitor["prompt"])),
        *plan_lines(monitor),
        *cost_lines(monitor),
        _row("last look", monitor["last_evaluated_at"] or "none yet"),
        _row("next look", _next_look(monitor, now) or "none"),
    ]


def plan_lines(plan: Json) -> list[str]:
    """What is watched: of a monitor, or of a plan that is none yet."""
    return [
        _row("condition", _plain(plan["condition"])),
        *_column("facts", [f"{fact['name']}: {fact['type']}{_unit(fact)}{_where(fact)}" for fact in plan["facts"]]),
        *_column("sources", [f"{each['type']} {_plain(_place(each))}" for each in plan["sources"]]),
        _row("schedule", " ".join(f"{name} {value}" for name, value in plan["schedule"].items())),
        *([_row("provider", _plain(plan["provider"]))] if plan.get("provider") else []),
        *([_row("", _plain(plan["explanation"]))] if plan["explanation"] else []),
    ]


def cost_lines(told: Json) -> list[str]:
    """What models will cost that read for a monitor, or for a plan that is none yet, and what those cost that compiled it."""
    forecast, compiled = told.get("forecast"), told.get("compile_cost_micros")
    costs = [] if forecast is None else [_forecast(forecast), *_by_batch(forecast), *map(_plain, forecast["notes"])]
    if compiled:
        costs.append(f"{dollars(compiled)} once: the prompt was compiled by a model")
    return _column("cost", costs)


def _by_batch(forecast: Json) -> list[str]:
    by_batch = "read by batch (--batch): may take hours, for half the price, which is counted here"
    return [by_batch] if BATCHED in forecast["basis"] else []


def _next_look(monitor: Json, now: datetime) -> str | None:
    """When it is due, or since when it was and waits. A list has no forecasts, which know whether anybody takes batches."""
    due_at, forecast = monitor["next_due_at"], monitor.get("forecast")
    waits = monitor["batch"] if forecast is None else BATCHED in forecast["basis"]
    is_past = due_at is not None and datetime.fromisoformat(due_at) < now
    return f"waits for its batch since {due_at}" if waits and is_past else due_at


def _forecast(forecast: Json) -> str:
    calls, day, call = (forecast[name] for name in ("calls_a_day_max", "cost_micros_a_day_max", "cost_micros_a_call"))
    of_what = "an estimate for texts of typical size" if forecast["is_estimated"] else "as in this trial"
    if calls is None:
        return f"{dollars(call)} a call, {of_what}; calls come with signals"
    count = f"{calls:.0f}" if calls >= COUNTED_WHOLE_MIN else f"{calls:.2g}"
    return f"at most {dollars(day)} a day, if all is new at each look: {count} calls of {dollars(call)}, {of_what}"


def listed_lines(monitors: Sequence[Json], *, now: datetime) -> list[str]:
    """Monitors in a table, one a line."""
    if not monitors:
        return []
    rows = [
        ("STATE", "STATUS", "NAME", "NEXT LOOK", "ID"),
        *(
            (each["state"], each["status"], _plain(each["name"]), _next_look(each, now) or "-", each["id"])
            for each in monitors
        ),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]) for row in rows]


def evaluation_lines(evaluation: Json) -> list[str]:
    """What came of an evaluation: the verdict, why, and every value with the words it was read from. What was read with too
    little confidence says so."""
    error, condition = evaluation["error"], evaluation["condition"]
    if error is not None:
        told = f"failed: {error['code']}: {_plain(error['message'])}"
        return [told, *_sources_that_failed(evaluation), *_spent_lines(evaluation)]
    if condition is None:
        return [f"{evaluation['status']}: {evaluation['id']}"]
    switched = f"{evaluation['state_before']} → {evaluation['state_after']}"
    return [
        f"{evaluation['verdict']}: {_plain(condition['expression'])}",
        *([f"  {_plain(evaluation['reason'])}"] if evaluation["reason"] else []),
        *(f"  {_plain(name)} = {_value(value)}" for name, value in condition["inputs"].items()),
        *(f"  {_read(fact, condition['inputs'])}" for fact in evaluation["facts"]),
        f"  state {switched if evaluation['changed'] else evaluation['state_after']}",
        *_spent_lines(evaluation),
    ]


def _read(fact: Json, inputs: Json) -> str:
    """Where a value stands, how certain that is unless it was selected, and why a model says yes or no."""
    name, value, confidence = _plain(fact["name"]), _value(fact["value"]), fact["confidence"]
    # What the monitor asks for now may be another confidence than this evaluation did.
    is_unused = inputs.get(fact["name"], value) is None
    quote, source = f"“{_quote(fact)}”", _plain(fact["source_url"])
    reason = f": {_plain(fact['reason'])}" if fact["reason"] else ""
    if not confidence:
        return (
            f"{name} is not believed: {value} was read, but {quote} does not stand at {source}, or says something else"
        )
    if is_unused:
        return f"{name} is not used: {value} was read with a confidence of {confidence:g}, too little, from {quote} at {source}{reason}"
    certain = f", with a confidence of {confidence:g}" if confidence < 1 else ""
    return f"{name} was read from {quote} at {source}{certain}{reason}"


def _spent_lines(evaluation: Json) -> list[str]:
    """What models cost that read for it, and what they did not because it was read before."""
    cost, saved = evaluation.get("cost_micros") or 0, evaluation.get("saved_micros") or 0
    said = [*([f"cost {dollars(cost)}"] if cost else []), *([f"saved {dollars(saved)}"] if saved else [])]
    return [f"  {', '.join(said)}"] if said else []


def _sources_that_failed(evaluation: Json) -> list[str]:
    return [f"  {each['outcome']}: {_plain(each['url'])}" for each in evaluation["evidence"]]


def _row(label: str, text: str) -> str:
    return f"  {label:<{LABEL_CHARS}}{text}"


def _column(label: str, texts: Sequence[str]) -> list[str]:
    return [_row(label if number == 0 else "", text) for number, text in enumerate(texts)]


def _unit(fact: Json) -> str:
    return f" {_plain(fact['unit'])}" if fact.get("unit") else ""


def _place(source: Json) -> str:
    return str(source.get("url") or source.get("query") or source["id"])


def _where(fact: Json) -> str:
    by = ", read by a model" if fact.get("read_by") == "model" else ""
    return by + "".join(f", {how} {_plain(str(where))}" for how, where in (fact.get("select") or {}).items())


def _quote(fact: Json) -> str:
    text = _plain(fact["quote"])
    return text if len(text) <= QUOTE_CHARS_MAX else f"{text[: QUOTE_CHARS_MAX - 1]}…"


def _value(value: Any) -> str:  # noqa: ANN401  JSON
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return "unknown" if value is None else _plain(str(value))


def _plain(text: str) -> str:
    """The text on one line, without what a terminal would obey."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
