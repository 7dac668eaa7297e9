"""What all routes that read have in common: parameters nobody declared are refused, and reads can ask to be fresh."""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any, get_args

from litestar import Controller, Response
from litestar.connection import ASGIConnection
from litestar.exceptions import ValidationException
from litestar.handlers.base import BaseRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter, QueryParameter
from litestar.types import ExceptionHandlersMap, Guard
from litestar.typing import FieldDefinition

from commands.http.failures import AnyRequest, on_validation
from commands.http.form import ErrorDetail, ErrorEnvelope, RequestInvalid
from read_api.freshness import MIN_POSITION, StaleRead, on_stale_read

_LAYERED = {
    "min_position": HeaderParameter(
        name=MIN_POSITION,
        annotation=str | None,
        default=None,
        required=False,
        description="A `Vigil-Position` that a write answered: waits up to 2 s for it, then answers 503 STALE_READ.",
    )
}


def refusal(description: str) -> ResponseSpec:
    """An error that a route may answer, for its documentation."""
    return ResponseSpec(ErrorEnvelope, description=description, generate_examples=False)


LIST_REFUSALS = {
    400: refusal("A parameter is not acceptable; `details` name it."),
    401: refusal("There is no valid access token."),
    503: refusal("The read tables are not as fresh as asked for, or a dependency is down."),
}
REFUSALS = {**LIST_REFUSALS, 404: refusal("There is no such thing, or it is not yours.")}


async def refuse_unknown_parameters(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """A guard: raises `RequestInvalid` naming the query parameters the route does not declare, because a filter that is
    silently not applied shows the wrong things."""
    known = sorted(_query_parameters(handler))
    these = f"known are: {', '.join(known)}" if known else "this route takes none"
    unknown = [
        ErrorDetail(field=name, issue="unknown", message=f"there is no parameter {name!r}; {these}")
        for name in dict.fromkeys(connection.query_params)
        if name not in known
    ]
    if unknown:
        raise RequestInvalid(unknown)


def _query_parameters(handler: BaseRouteHandler) -> Iterator[str]:
    for field in handler.parsed_fn_signature.parameters.values():
        if isinstance(field.kwarg_definition, QueryParameter):
            yield _query_name(field)


def on_parameters(request: AnyRequest, error: ValidationException) -> Response[ErrorEnvelope]:
    """400 that names parameters as they are sent, which is not always how the handler calls them (`from`, `state`), and
    says what a parameter with a closed set of values may be."""
    fields = request.route_handler.parsed_fn_signature.parameters
    found = error.extra if isinstance(error.extra, list) else []
    told = [_told(item, fields[item["key"]]) if item.get("key") in fields else item for item in found]
    return on_validation(request, ValidationException(detail=error.detail, extra=told))


def _told(item: dict[str, Any], field: FieldDefinition) -> dict[str, Any]:
    choices = [choice for part in (field, *field.inner_types) for choice in _choices(part)]
    message = f"choose one of {', '.join(choices)}" if choices else item.get("message", "")
    return {**item, "key": _query_name(field), "message": message}


def _query_name(field: FieldDefinition) -> str:
    declared = field.kwarg_definition
    return (declared.name if isinstance(declared, QueryParameter) else None) or field.name


def _choices(field: FieldDefinition) -> list[str]:
    if field.is_literal:
        return [str(value) for value in get_args(field.annotation)]
    return [str(member) for member in field.annotation] if field.is_subclass_of(StrEnum) else []


_HANDLERS: ExceptionHandlersMap = {StaleRead: on_stale_read, ValidationException: on_parameters}


class Reads(Controller):
    """GET routes over one read model."""

    guards: Sequence[Guard] | None = (refuse_unknown_parameters,)
    exception_handlers = _HANDLERS
    parameters = _LAYERED
