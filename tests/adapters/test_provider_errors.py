"""How a provider's errors are told to people: each outcome once."""

import pytest

from adapters.provider_errors import AT_LIMIT, NO_TEXT, REFUSED, failure
from commands.asking import NOT_OF_THE_FORM
from commands.unread import why_unanswered, why_unread
from domain.budget import is_spent
from domain.model_call import CallOutcome
from domain.operation import INSTALLATION


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (401, "it does not take the key (401)"),
        (403, "it does not take the key (403)"),
        (402, "it does not take the key (the account with the provider has no money left (402))"),
        (429, "it takes no more requests at present (429)"),
        (503, "it does not work at present (503)"),
        (400, "it does not take such a request (400)"),
        (404, "it does not take such a request (the provider knows no such model or address (404))"),
        (408, "there was no whole answer in time (the provider gave up waiting (408))"),
    ],
)
def test_an_error_is_told_once_with_its_status_and_with_what_else_it_says(status: int, told: str) -> None:
    reply = failure(status, {}, {})
    assert why_unread(reply.outcome, "claude", reply.message) == f"claude read nothing: {told}"


@pytest.mark.parametrize(
    ("outcome", "message", "told"),
    [
        (CallOutcome.TRUNCATED, AT_LIMIT, "its answer was too long"),
        (CallOutcome.REFUSED, REFUSED, "it refused to answer"),
        (CallOutcome.MALFORMED, NOT_OF_THE_FORM, "its answer was not of the form that was asked for"),
        (
            CallOutcome.MALFORMED,
            NO_TEXT,
            "its answer was not of the form that was asked for (the answer has no text)",
        ),
        (CallOutcome.AUTH, None, "it does not take the key"),
    ],
)
def test_an_answer_that_is_none_is_told_once(outcome: CallOutcome, message: str | None, told: str) -> None:
    assert why_unanswered(outcome, message) == told


def test_a_budget_tells_itself_why_nobody_was_asked() -> None:
    why = is_spent(INSTALLATION, 1000, spent_micros=396, most_micros=682)
    assert why_unread(CallOutcome.BUDGET_EXCEEDED, None, why) == (
        "nobody read the facts: of this installation's AI budget of 0.001 USD for today 0.000604 USD is left, and this call"
        " may cost 0.000682 USD; the next budget begins at midnight UTC"
    )
