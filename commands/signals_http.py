"""POST, PATCH and DELETE of /api/v1/signal-sources, and /api/v1/signals/{source_id} for signals from outside."""

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Controller, Response, delete, patch, post
from litestar.di import NamedDependency
from litestar.openapi.spec import OpenAPIMediaType, Operation, Parameter, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.types import ExceptionHandlersMap

from commands.http.bearer import ANONYMOUS_ROUTE
from commands.http.failures import Failure, failure
from commands.http.form import AnyRequest, Envelope, ErrorDetail, answer
from commands.http.writing import Projected, Views, caller_of, changed, deleted, first_of, if_version, started
from commands.shapes import parse_duration
from commands.shell import Written
from commands.signal_receiving import NotJson, SignalReceiver, SignalsTooMany
from commands.signal_shapes import (
    NewSecretShape,
    NewSignalSourceShape,
    SignalAddresses,
    SignalAnswer,
    SignalSourceDetailsShape,
    new_source_shape,
)
from commands.signal_signature import ID, SIGNATURE, TIMESTAMP, SignatureRefused, new_secret
from commands.signals import OVERLAP_DEFAULT, SignalSourceCommands
from domain.signal_source import RegisteredSource, SignalSecretRotated, SignalSourceCreated, Terms

SIGNAL_BYTES_MAX = 64 * 1024

Overlap = Annotated[
    str | None,
    QueryParameter(
        description="How long the present secret stays good, an ISO 8601 duration: `PT0S` (it leaked) to `P7D`, `P1D` when"
        " left out."
    ),
]


class SignalSourceBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A place where others may send signals to."""

    name: str
    schema: dict[str, Any] | None = None
    silent_after: str | None = None


class SignalSourcePatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to change; what is left out stays, and null takes a schema or `silent_after` away."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    schema: dict[str, Any] | msgspec.UnsetType | None = msgspec.UNSET
    silent_after: str | msgspec.UnsetType | None = msgspec.UNSET


class SignalSourceWrites(Controller):
    """Creating and changing signal sources."""

    path = "/signal-sources"
    tags = ("Signals",)

    @post("/", summary="Create a signal source")
    async def create_signal_source(
        self,
        request: AnyRequest,
        data: JSONBody[SignalSourceBody],
        signal_sources: NamedDependency[SignalSourceCommands],
        signal_addresses: NamedDependency[SignalAddresses],
        projected: NamedDependency[Projected],
    ) -> Response[Envelope[NewSignalSourceShape]]:
        """An address to send signals to, and the secret to sign them with. Keep the secret: it is shown this once."""
        caller, secret = await caller_of(request), new_secret()
        terms = Terms(name=data.name, schema=_text(data.schema), silent_after=_duration(data.silent_after))

        def created(written: Written[RegisteredSource], secret: str | None) -> NewSignalSourceShape:
            return _as_created(written, secret, url=signal_addresses.of(written.stream_id))

        command = signal_sources.create(caller, terms=terms, secret=secret, answer=created)
        return await started(request, command, lambda written: created(written, secret), projected)

    @patch("/{source_id:uuid}", summary="Change a signal source")
    async def change_signal_source(
        self,
        request: AnyRequest,
        source_id: FromPath[UUID],
        data: JSONBody[SignalSourcePatch],
        signal_sources: NamedDependency[SignalSourceCommands],
        signal_source_views: NamedDependency[Views[SignalSourceDetailsShape]],
        projected: NamedDependency[Projected],
    ) -> Response[Envelope[SignalSourceDetailsShape]]:
        """Another name, schema, or time after which it counts as silent. Signals that came are not checked again."""
        caller = await caller_of(request)
        command = signal_sources.revise(
            caller, source_id, lambda present: _merged(data, present), if_version=if_version(request)
        )
        return await changed(request, caller, signal_sources.shell, command, signal_source_views, projected)

    @post("/{source_id:uuid}/rotate-secret", status_code=200, summary="Rotate a signal source's secret")
    async def rotate_secret(
        self,
        request: AnyRequest,
        source_id: FromPath[UUID],
        signal_sources: NamedDependency[SignalSourceCommands],
        projected: NamedDependency[Projected],
        overlap: Overlap = None,
    ) -> Response[Envelope[NewSecretShape]]:
        """A new secret, shown this once. The one before stays good for `overlap`, so that senders can change over without
        losing a signal; an even older one ends now."""
        caller, secret = await caller_of(request), new_secret()
        for_so_long = OVERLAP_DEFAULT if overlap is None else parse_duration(overlap, field="overlap")
        command = signal_sources.rotate(
            caller, source_id, secret=secret, overlap=for_so_long, if_version=if_version(request)
        )
        return await started(request, command, lambda written: _as_rotated(written, secret), projected, status=200)

    @delete("/{source_id:uuid}", status_code=204, summary="Delete a signal source")
    async def delete_signal_source(
        self,
        request: AnyRequest,
        source_id: FromPath[UUID],
        signal_sources: NamedDependency[SignalSourceCommands],
        projected: NamedDependency[Projected],
    ) -> Response[None]:
        """Take no more signals and destroy the secrets. Monitors that watch it find nothing there any more."""
        caller = await caller_of(request)
        command = signal_sources.delete(caller, source_id, if_version=if_version(request))
        return await deleted(request, command, projected)


def on_signature(request: AnyRequest, error: SignatureRefused) -> Failure:
    """401 that says how to sign. It is the same for an address where nothing is."""
    details = [ErrorDetail(field=error.field, issue="signature", message=error.why)]
    refused = failure(request, 401, error.code, error.message, details)
    refused.headers["WWW-Authenticate"] = "StandardWebhooks"
    return refused


def on_too_many(request: AnyRequest, error: SignalsTooMany) -> Failure:
    """429 with the time to wait."""
    message = (
        "this signal source takes fewer in so short a time; send this one again, with its webhook-id, after Retry-After"
    )
    refused = failure(request, 429, "RATE_LIMITED", message)
    refused.headers["Retry-After"] = str(math.ceil(error.wait_seconds))
    return refused


def on_other_type(request: AnyRequest, _error: NotJson) -> Failure:
    """415 that says what to send."""
    message = "send JSON and say so: Content-Type: application/json"
    return failure(request, 415, "UNSUPPORTED_MEDIA_TYPE", message)


@dataclass
class SignalOperation(Operation):
    """What the documentation says of a request that is read byte for byte, before anybody knows what is in it."""

    def __post_init__(self) -> None:
        """Add the body, and the headers of Standard Webhooks."""
        any_json = OpenAPIMediaType(schema=Schema(description="Any JSON, as the schema of the signal source asks."))
        self.request_body = RequestBody(content={"application/json": any_json}, required=True)
        self.parameters = [*(self.parameters or ()), *(_header(name, text) for name, text in _SIGNED_WITH.items())]


_SIGNED_WITH = {
    ID: "The sender's id of this signal, up to 255 printable ASCII characters: the same when it is sent again.",
    TIMESTAMP: "When it is sent, in whole seconds since 1970-01-01 UTC.",
    SIGNATURE: "`v1,` and the base64 of HMAC-SHA-256 over `<webhook-id>.<webhook-timestamp>.<body>`.",
}


def _header(name: str, description: str) -> Parameter:
    text = Schema(type=OpenAPIType.STRING)
    return Parameter(name=name, param_in="header", required=True, description=description, schema=text)


_HANDLERS: ExceptionHandlersMap = {
    SignatureRefused: on_signature,
    SignalsTooMany: on_too_many,
    NotJson: on_other_type,
}


class SignalIntake(Controller):
    """Signals from outside."""

    path = "/signals"
    tags = ("Signals",)
    exception_handlers = _HANDLERS

    @post(
        "/{source_id:uuid}",
        opt={ANONYMOUS_ROUTE: True},
        status_code=202,
        summary="Send a signal",
        request_max_body_size=SIGNAL_BYTES_MAX,
        operation_class=SignalOperation,
    )
    async def send_signal(
        self, request: AnyRequest, source_id: FromPath[UUID], signal_receiver: NamedDependency[SignalReceiver]
    ) -> Response[Envelope[SignalAnswer]]:
        """JSON of up to 64 KiB, signed after Standard Webhooks with the headers `webhook-id`, `webhook-timestamp` and
        `webhook-signature`; no token is needed. 202 with the evaluations it asks for; a signal that comes again under its
        id is answered as it was the first time and asks for nothing."""
        received = await signal_receiver.receive(
            source_id,
            request.headers,
            await request.body(),
            is_json=request.content_type[0] == "application/json",
            correlation_id=request.scope["vigil.correlation_id"],  # type: ignore[typeddict-item]  # set by RequestIds
        )
        event = received.event
        told = SignalAnswer(
            id=received.id,
            source_id=source_id,
            received_at=event.received_at,
            evaluations=event.evaluations,
        )
        headers = {"Idempotency-Replayed": "true"} if received.again else {}
        return Response(answer(request, told), status_code=202, headers=headers)


def _merged(data: SignalSourcePatch, present: Terms) -> Terms:
    return Terms(
        name=present.name if data.name is msgspec.UNSET else data.name,
        schema=present.schema if data.schema is msgspec.UNSET else _text(data.schema),
        silent_after=present.silent_after if data.silent_after is msgspec.UNSET else _duration(data.silent_after),
    )


def _text(schema: dict[str, Any] | None) -> str | None:
    return None if schema is None else msgspec.json.encode(schema).decode()


def _duration(text: str | None) -> timedelta | None:
    return None if text is None else parse_duration(text, field="silent_after")


def _as_created(written: Written[RegisteredSource], secret: str | None, *, url: str) -> NewSignalSourceShape:
    at, terms = first_of(written, SignalSourceCreated).created_at, written.state.current
    return new_source_shape(written.stream_id, terms, secret, url=url, version=written.version, created_at=at)


def _as_rotated(written: Written[RegisteredSource], secret: str) -> NewSecretShape:
    rotated = first_of(written, SignalSecretRotated)
    return NewSecretShape(
        id=written.stream_id,
        secret=secret,
        older_valid_until=rotated.overlap_ends_at,
        version=written.version,
    )
