"""From exceptions to answers: each a stable code, a message a person can act on, and never an internal."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog
from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException, SerializationException, ValidationException
from litestar.types import ExceptionHandlersMap

from commands.event_store import ConcurrentAppend, PersonErased
from commands.http.body import in_words
from commands.http.form import ErrorBody, ErrorDetail, ErrorEnvelope, RequestInvalid, meta_of
from commands.identity import InvalidCredentials, RegistrationClosed, SessionInvalid
from commands.shell import IdempotencyKeyReused
from commands.signal_signature import SignatureRefused
from domain.errors import (
    AiBudgetExceeded,
    AiUnavailable,
    Conflict,
    InvalidInput,
    MonitorLimitExceeded,
    MonitorTotalExceeded,
    NotFound,
    PromptAmbiguous,
    PromptNotUnderstood,
    RuleViolation,
    StaleVersion,
)
from domain.signal_source import SignalSourceLimitExceeded

log = structlog.get_logger()

RETRY_AFTER_SECONDS = 2
AI_RETRY_AFTER_SECONDS = 30
"""Where one of the providers failed and does not rest."""

STATUS_OF_RULE: Mapping[type[RuleViolation], int] = {
    InvalidInput: 400,
    NotFound: 404,
    Conflict: 409,
    StaleVersion: 412,
    InvalidCredentials: 401,
    SessionInvalid: 401,
    RegistrationClosed: 403,
    IdempotencyKeyReused: 422,
    MonitorLimitExceeded: 422,
    MonitorTotalExceeded: 422,
    SignalSourceLimitExceeded: 422,
    SignatureRefused: 401,
    PromptNotUnderstood: 422,
    PromptAmbiguous: 422,
    AiBudgetExceeded: 422,
    AiUnavailable: 503,
    RuleViolation: 422,
}
"""The status of a broken rule, the nearest class in its line of descent."""

CODE_OF_STATUS: Mapping[int, str] = {
    400: "VALIDATION_ERROR",
    401: "UNAUTHENTICATED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    406: "NOT_ACCEPTABLE",
    413: "BODY_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    429: "RATE_LIMITED",
    503: "SERVICE_UNAVAILABLE",
}

AnyRequest = Request[Any, Any, Any]
Failure = Response[ErrorEnvelope]


def on_rule(request: AnyRequest, error: RuleViolation) -> Failure:
    """A rule of the domain was broken."""
    status = next(STATUS_OF_RULE[cls] for cls in type(error).__mro__ if cls in STATUS_OF_RULE)
    details = details_of(error) if error.field else []
    answer = failure(request, status, error.code, error.message, details)
    if isinstance(error, AiUnavailable):
        rest = AI_RETRY_AFTER_SECONDS if error.rest_seconds is None else max(1, math.ceil(error.rest_seconds))
        answer.headers["Retry-After"] = str(rest)
    if status == 401:
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


def details_of(error: RuleViolation) -> list[ErrorDetail]:
    """A broken rule as what is wrong: one thing, or every question that is open."""
    if isinstance(error, PromptAmbiguous):
        return [ErrorDetail(field=error.field, issue="question", message=asked) for asked in error.questions]
    issue = "invalid" if isinstance(error, InvalidInput) else "rule"
    return [ErrorDetail(field=error.field, issue=issue, message=error.message)]


def on_concurrent_append(request: AnyRequest, _error: ConcurrentAppend) -> Failure:
    """Somebody else kept winning the race for the stream."""
    return failure(request, 409, "VERSION_CONFLICT", "somebody changed this at the same moment; read it and try again")


def on_person_erased(request: AnyRequest, _error: PersonErased) -> Failure:
    """The caller was erased while this request was on its way."""
    answer = failure(request, 401, "UNAUTHENTICATED", "this account was erased")
    answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


def on_invalid(request: AnyRequest, error: RequestInvalid) -> Failure:
    """The body or the parameters are not what the route takes."""
    return failure(request, 400, "VALIDATION_ERROR", "the request is not valid; see details", error.details)


def on_validation(request: AnyRequest, error: ValidationException) -> Failure:
    """A parameter is not of its type, or there is no body where one is needed."""
    extra = error.extra if isinstance(error.extra, list) else []
    details = [
        ErrorDetail(field=str(item.get("key", "")), issue="invalid", message=in_words(_sendable(item)))
        for item in extra
    ]
    if any(item.get("key") == "data" for item in extra):
        details = [ErrorDetail(field=None, issue="type", message="send a JSON object as the body")]
    return failure(request, 400, "VALIDATION_ERROR", "the request is not valid; see details", details)


def _sendable(item: Mapping[str, Any]) -> str:
    """What the framework says of a parameter, which nobody can send a null as."""
    return str(item.get("message", "")).replace(" | null`", "`")


def on_malformed(request: AnyRequest, error: SerializationException) -> Failure:
    """The body is not JSON; the answer says where, as far as msgspec does."""
    match error.__cause__:
        case msgspec.DecodeError() as cause:
            reason, _, _ = str(cause).removeprefix("JSON is malformed: ").partition(" - at `$")
            why = f": {in_words(reason)}"
        case UnicodeDecodeError():
            why = ": it is not UTF-8"
        case _:  # nothing of ours is told
            why = ""
    return failure(request, 400, "VALIDATION_ERROR", f"the body is not valid JSON (RFC 8259){why}")


def on_http(request: AnyRequest, error: HTTPException) -> Failure:
    """Everything Litestar refuses by itself."""
    if isinstance(error.__cause__, SerializationException):
        return on_malformed(request, error.__cause__)
    status = error.status_code
    if status >= 500:
        return on_bug(request, error)
    answer = failure(request, status, CODE_OF_STATUS.get(status, "REQUEST_REFUSED"), _message(error))
    for name, value in (error.headers or {}).items():
        answer.headers[name] = value
    if status == 401:
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


def _message(error: HTTPException) -> str:
    match error:
        case HTTPException(status_code=404):
            return "there is nothing here"
        case HTTPException(status_code=405, headers={"allow": allowed}):
            return f"this path takes only {allowed}"
        case _:
            return error.detail or "the request is not acceptable"


def on_dependency_down(request: AnyRequest, error: Exception) -> Failure:
    """A dependency does not answer; the caller may try again soon."""
    log.warning("a dependency does not answer", path=request.url.path, error=repr(error))
    answer = failure(request, 503, "SERVICE_UNAVAILABLE", "a part of Vigil does not answer right now; try again soon")
    answer.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return answer


def on_bug(request: AnyRequest, error: Exception) -> Failure:
    """A defect of ours: everything to the log, nothing to the caller but the correlation id."""
    log.error("unhandled error", path=request.url.path, method=request.method, exc_info=error)
    return failure(
        request, 500, "INTERNAL_ERROR", "something went wrong on our side; the correlation id helps us find it"
    )


def failure(request: AnyRequest, status: int, code: str, message: str, details: Sequence[ErrorDetail] = ()) -> Failure:
    """The answer that says what went wrong."""
    meta = meta_of(request)
    body = ErrorBody(
        code=code,
        message=message,
        details=details,
        documentation_url=f"{str(request.base_url).rstrip('/')}/api/v1/docs/errors#{code}",
        correlation_id=str(request.scope.get("vigil.correlation_id", "")),
        timestamp=datetime.now(UTC),
    )
    return Response(ErrorEnvelope(error=body, meta=meta), status_code=status, media_type=MediaType.JSON)


EXCEPTION_HANDLERS: ExceptionHandlersMap = {
    RuleViolation: on_rule,
    RequestInvalid: on_invalid,
    ConcurrentAppend: on_concurrent_append,
    PersonErased: on_person_erased,
    ValidationException: on_validation,
    SerializationException: on_malformed,
    HTTPException: on_http,
    OSError: on_dependency_down,
    Exception: on_bug,
}
