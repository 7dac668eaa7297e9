"""What people are told of an evaluation: which rule decided, and who was told."""

import pytest

from domain.evaluation import Verdict
from domain.explaining import SUPPRESSED, Rule, Seen, Telling, rule_of, summary, told
from domain.monitor import State
from domain.plan import Fires

MET, NOT_MET, INCONCLUSIVE = Verdict.MET, Verdict.NOT_MET, Verdict.INCONCLUSIVE
UNKNOWN, INACTIVE, ACTIVE = State.UNKNOWN, State.INACTIVE, State.ACTIVE


def seen(verdict: Verdict | None, before: State | None, after: State | None, **others: object) -> Seen:
    fields: dict[str, object] = {
        "reason": None,
        "failure": None,
        "streak": 1,
        "resets": False,
        "confirmations": 1,
        "fires": Fires.ON_ENTRY,
        **others,
    }
    return Seen(verdict=verdict, state_before=before, state_after=after, **fields)  # type: ignore[arg-type]  # fields by name


@pytest.mark.parametrize(
    ("one", "rule", "says"),
    [
        (seen(None, None, None), Rule.NOT_DONE, "It is not done yet."),
        (
            seen(None, None, None, failure="the shop does not answer"),
            Rule.FAILED,
            "Nothing could be judged: the shop does not answer. A failure never changes the state.",
        ),
        (
            seen(INCONCLUSIVE, ACTIVE, ACTIVE, reason="price was not found"),
            Rule.INCONCLUSIVE,
            (
                "What the condition says cannot be told: price was not found. That never changes the state; the state stays"
                " active."
            ),
        ),
        (
            seen(MET, UNKNOWN, ACTIVE),
            Rule.SWITCHED,
            "The condition is met, so the state went from unknown to active.",
        ),
        (
            seen(NOT_MET, ACTIVE, INACTIVE, streak=3, confirmations=3),
            Rule.SWITCHED,
            "The condition is not met 3 times in a row, so the state went from active to inactive.",
        ),
        (
            seen(NOT_MET, ACTIVE, INACTIVE, resets=True),
            Rule.SWITCHED,
            "The reset condition is met, so the state went from active to inactive.",
        ),
        (
            seen(MET, INACTIVE, INACTIVE, streak=2, confirmations=3),
            Rule.CONFIRMING,
            "The condition is met, 2 times in a row; a switch takes 3 verdicts in a row, so the state stays inactive.",
        ),
        (
            seen(MET, UNKNOWN, UNKNOWN, confirmations=2),
            Rule.CONFIRMING,
            "The condition is met, for the first time; a switch takes 2 verdicts in a row, so the state stays unknown.",
        ),
        (
            seen(NOT_MET, ACTIVE, ACTIVE, confirmations=None, fires=None),
            Rule.CONFIRMING,
            (
                "The condition is not met, for the first time; a switch takes more verdicts in a row, so the state stays"
                " active."
            ),
        ),
        (
            seen(MET, ACTIVE, ACTIVE, fires=Fires.EACH_TIME),
            Rule.MET_AGAIN,
            "The condition is met once more, and this monitor counts every time; the state stays active.",
        ),
        (
            seen(MET, ACTIVE, ACTIVE, resets=True),
            Rule.HELD_BY_RESET,
            "The reset condition is not met, and until it is the state stays active, whatever the condition itself says.",
        ),
        (
            seen(NOT_MET, INACTIVE, INACTIVE, reason="not enough history yet for changed(price)"),
            Rule.UNCHANGED,
            (
                "The condition is not met (not enough history yet for changed(price)), and the state says so already; the"
                " state stays inactive."
            ),
        ),
    ],
)
def test_a_person_is_told_what_decided(one: Seen, rule: Rule, says: str) -> None:
    assert rule_of(one) is rule
    assert summary(one) == says


@pytest.mark.parametrize(
    ("one", "says"),
    [
        (seen(NOT_MET, INACTIVE, INACTIVE), "Nobody was told: the state did not change."),
        (seen(None, None, None, failure="x"), "Nobody was told: the state did not change."),
        (seen(None, None, None), "Nobody was told yet: it is not done."),
        (seen(MET, INACTIVE, INACTIVE, confirmations=2), "Nobody was told: the state did not change."),
        (seen(NOT_MET, UNKNOWN, INACTIVE), "Nobody was told: to find a monitor inactive at first is no news."),
        (
            seen(MET, INACTIVE, ACTIVE),
            "Nobody was told: no trigger of this monitor waits for it, or none has been asked yet.",
        ),
        (
            seen(MET, ACTIVE, ACTIVE, fires=Fires.EACH_TIME),
            "Nobody was told: no trigger of this monitor waits for it, or none has been asked yet.",
        ),
    ],
)
def test_a_person_is_told_why_nobody_was_told(one: Seen, says: str) -> None:
    assert told(one, []) == says


def test_each_trigger_says_what_it_did() -> None:
    tellings = [
        Telling(name="Mail", outcome="fired", reason=None),
        Telling(name="Slow", outcome="suppressed", reason="cooldown"),
        Telling(name="New", outcome="suppressed", reason="quiet_hours"),
    ]
    assert told(seen(MET, INACTIVE, ACTIVE), tellings) == (
        f"The trigger 'Mail' fired. The trigger 'Slow' did not fire: {SUPPRESSED['cooldown']}."
        " The trigger 'New' did not fire: quiet hours."
    )
