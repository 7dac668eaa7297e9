"""Explaining an evaluation to the person it was made for: which rule decided, and why they were told of it or not."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Literal

import msgspec

from domain.evaluation import Verdict
from domain.monitor import State
from domain.plan import Fires


class Rule(StrEnum):
    """What decided about the state."""

    NOT_DONE = "not_done"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    SWITCHED = "switched"
    CONFIRMING = "confirming"
    MET_AGAIN = "met_again"
    HELD_BY_RESET = "held_by_reset"
    UNCHANGED = "unchanged"


class Clause(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a condition as it was written, with the values put in, and what it said (None: that cannot be told). `clauses`
    are its own parts, which `joined_by` joins."""

    text: str
    with_values: str
    result: bool | None
    joined_by: Literal["&&", "||"] | None = None
    clauses: tuple["Clause", ...] = ()


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """An evaluation as far as it can be explained: `resets` says that the reset condition was asked; `confirmations` and
    `fires` are those of its plan, None where that is an older one."""

    verdict: Verdict | None
    state_before: State | None
    state_after: State | None
    reason: str | None
    failure: str | None
    streak: int | None
    resets: bool
    confirmations: int | None
    fires: Fires | None


class Telling(msgspec.Struct, frozen=True, kw_only=True):
    """What a trigger did about an evaluation."""

    name: str
    outcome: Literal["fired", "suppressed"]
    reason: str | None


SUPPRESSED = {
    "disabled": "it is disabled",
    "once_already_fired": "it fires once, and did before",
    "cooldown": "it fired not long ago, and its cool-down was not over",
    "action_deleted": "its action was deleted",
    "address_unverified": "your address is not verified",
}


def rule_of(seen: Seen) -> Rule:
    """What decided."""
    if seen.failure is not None:
        return Rule.FAILED
    if seen.verdict is None:
        return Rule.NOT_DONE
    if seen.verdict is Verdict.INCONCLUSIVE:
        return Rule.INCONCLUSIVE
    if seen.state_before is not seen.state_after:
        return Rule.SWITCHED
    if seen.state_before is not (State.ACTIVE if seen.verdict is Verdict.MET else State.INACTIVE):
        return Rule.CONFIRMING
    if seen.verdict is Verdict.MET and seen.resets:
        return Rule.HELD_BY_RESET
    return Rule.MET_AGAIN if seen.verdict is Verdict.MET and seen.fires is Fires.EACH_TIME else Rule.UNCHANGED


def summary(seen: Seen) -> str:
    """What came of it and by which rule, for people."""
    said, stays = _said(seen), f"the state stays {seen.state_before}"
    match rule_of(seen):
        case Rule.NOT_DONE:
            return "It is not done yet."
        case Rule.FAILED:
            return f"Nothing could be judged: {_sentence(seen.failure)} A failure never changes the state."
        case Rule.INCONCLUSIVE:
            why = _sentence(seen.reason or "a value is missing")
            return f"What the condition says cannot be told: {why} That never changes the state; {stays}."
        case Rule.SWITCHED:
            return f"{said}{_in_a_row(seen)}, so the state went from {seen.state_before} to {seen.state_after}."
        case Rule.CONFIRMING:
            needed = "more" if seen.confirmations is None else str(seen.confirmations)
            return f"{said}, {_times(seen.streak)}; a switch takes {needed} verdicts in a row, so {stays}."
        case Rule.MET_AGAIN:
            return f"{said} once more, and this monitor counts every time; {stays}."
        case Rule.HELD_BY_RESET:
            return f"{said}, and until it is {stays}, whatever the condition itself says."
        case Rule.UNCHANGED:
            return f"{said}, and the state says so already; {stays}."


def told(seen: Seen, tellings: Sequence[Telling]) -> str:
    """Who was told of it, or why nobody was, for people."""
    if tellings:
        return " ".join(_telling(one) for one in tellings)
    match rule_of(seen):
        case Rule.NOT_DONE:
            return "Nobody was told yet: it is not done."
        case Rule.SWITCHED if seen.state_before is State.UNKNOWN and seen.state_after is State.INACTIVE:
            return "Nobody was told: to find a monitor inactive at first is no news."
        case Rule.SWITCHED | Rule.MET_AGAIN:
            return "Nobody was told: no trigger of this monitor waits for it, or none has been asked yet."
        case _:
            return "Nobody was told: the state did not change."


def _said(seen: Seen) -> str:
    if seen.resets:
        return f"The reset condition is {'not met' if seen.verdict is Verdict.MET else 'met'}"
    if seen.verdict is Verdict.MET:
        return "The condition is met"
    return f"The condition is not met{f' ({seen.reason})' if seen.reason else ''}"


def _in_a_row(seen: Seen) -> str:
    return f" {_times(seen.streak)}" if (seen.confirmations or 1) > 1 and (seen.streak or 1) > 1 else ""


def _times(streak: int | None) -> str:
    return "for the first time" if streak in {None, 1} else f"{streak} times in a row"


def _telling(one: Telling) -> str:
    if one.outcome == "fired":
        return f"The trigger {one.name!r} fired."
    reason = one.reason or ""
    return f"The trigger {one.name!r} did not fire: {SUPPRESSED.get(reason, reason.replace('_', ' '))}."


def _sentence(text: str | None) -> str:
    return f"{(text or '').rstrip('. ')}."
