"""Rules of the domain that a request can break. The class docstring is the message a person reads."""

from collections.abc import Sequence
from typing import ClassVar


class RuleViolation(Exception):
    """The request breaks a rule."""

    code: ClassVar[str] = "RULE_VIOLATION"

    def __init__(self, message: str | None = None, *, field: str | None = None) -> None:
        self.message = message or (type(self).__doc__ or "").strip()
        self.field = field
        super().__init__(self.message)


class InvalidInput(RuleViolation):
    """A value in the request is not acceptable."""

    code = "VALIDATION_ERROR"


class NotFound(RuleViolation):
    """There is no such thing, or it is not yours."""

    code = "NOT_FOUND"


class Conflict(RuleViolation):
    """The request conflicts with the present state."""

    code = "CONFLICT"


class DuplicateName(Conflict):
    """You already have one with this name. Choose another name."""

    code = "DUPLICATE_NAME"


class StaleVersion(RuleViolation):
    """The If-Match header does not name the present version. Read it again and repeat your change."""

    code = "PRECONDITION_FAILED"


class MonitorLimitExceeded(RuleViolation):
    """You have as many active monitors as your account allows. Pause or delete one first."""

    code = "MONITOR_LIMIT_EXCEEDED"


class MonitorTotalExceeded(RuleViolation):
    """You have as many monitors as your account allows, paused ones included. Delete one first."""

    code = "MONITOR_TOTAL_EXCEEDED"


class PromptNotUnderstood(RuleViolation):
    """This prompt needs facts and a condition given explicitly, or an AI provider."""

    code = "PROMPT_NOT_UNDERSTOOD"


class PromptAmbiguous(RuleViolation):
    """This prompt can be read in more than one way. Answer the questions in details within the prompt, and send it again."""

    code = "PROMPT_AMBIGUOUS"

    def __init__(self, questions: Sequence[str] = ()) -> None:
        self.questions = tuple(questions)
        super().__init__(field="prompt")


class AiUnavailable(RuleViolation):
    """No AI provider answers at present. Try again soon, or give facts and a condition yourself."""

    code = "AI_UNAVAILABLE"

    def __init__(self, message: str | None = None, *, rest_seconds: float | None = None) -> None:
        super().__init__(message)
        self.rest_seconds = rest_seconds
        """How long all of them rest, None when one may be asked now."""


class AiBudgetExceeded(RuleViolation):
    """A call may cost more than is left of today's AI budget. Give facts and a condition yourself, or try again after midnight UTC."""

    code = "AI_BUDGET_EXCEEDED"


class SearchNotAvailable(InvalidInput):
    """No search provider is set up here. Name pages or feeds instead, or ask the operator for a provider of web search."""

    code = "SEARCH_NOT_AVAILABLE"


class ConditionInvalid(InvalidInput):
    """The condition does not compile against the facts."""

    code = "VALIDATION_ERROR"
