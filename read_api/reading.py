"""What all routes that read have in common: parameters nobody declared are refused, and reads can ask to be fresh."""

from collections.abc import Iterator
from typing import Any

from litestar import Controller
from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter, QueryParameter
from litestar.types import ExceptionHandlersMap

from commands.http.form import ErrorEnvelope
from domain.errors import InvalidInput
from read_api.freshness import MIN_POSITION, StaleRead, on_stale_read

_STALE_HANDLERS: ExceptionHandlersMap = {StaleRead: on_stale_read}

_LAYERED = {
    "min_position": HeaderParameter(
        name=MIN_POSITION,
        annotation=str | None,
        default=None,
        required=False,
        description="A `Vigil-Position` that a write answered: waits up to 2 s for it, then answers 503 STALE_READ.",
    )
}


def _refusal(description: str) -> ResponseSpec:
    return ResponseSpec(ErrorEnvelope, description=description, generate_examples=False)


LIST_REFUSALS = {
    400: _refusal("A parameter is not acceptable; `details` name it."),
    401: _refusal("There is no valid access token."),
    503: _refusal("The read tables are not as fresh as asked for, or a dependency is down."),
}
REFUSALS = {**LIST_REFUSALS, 404: _refusal("There is no such thing, or it is not yours.")}


def refuse_unknown_parameters(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """A guard: raises `InvalidInput` naming a query parameter the route does not declare, because a filter that is
    silently not applied shows the wrong things."""
    known = sorted(_query_parameters(handler))
    for name in connection.query_params:
        if name not in known:
            these = f"known are: {', '.join(known)}" if known else "this route takes none"
            raise InvalidInput(f"there is no parameter {name!r}; {these}", field=name)


def _query_parameters(handler: BaseRouteHandler) -> Iterator[str]:
    for name, field in handler.parsed_fn_signature.parameters.items():
        if isinstance(field.kwarg_definition, QueryParameter):
            yield field.kwarg_definition.name or name


class Reads(Controller):
    """GET routes over one read model."""

    guards = (refuse_unknown_parameters,)
    exception_handlers = _STALE_HANDLERS
    parameters = _LAYERED
