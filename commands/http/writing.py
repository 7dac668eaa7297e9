"""What routes that write have in common: idempotency keys, If-Match, and answers a person can read back at once."""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar, runtime_checkable
from uuid import UUID

import msgspec
from litestar import Response

from commands.caller import Caller
from commands.event_store import Receipt
from commands.http.bearer import header
from commands.http.form import AnyRequest, Envelope, answer
from commands.shell import IdempotentReplay, Shell, Written
from domain.errors import InvalidInput, NotFound, StaleVersion
from domain.event import Event

COMMAND_ID_CHARS_MAX = 255
VERSION_DIGITS_MAX = 18
"""Above every version there is, and below what Python's `int` refuses to read."""


class Versioned(Protocol):
    """Something with the version of its stream."""

    @property
    def version(self) -> int:
        """Counts from 1."""
        ...


class Placed(Protocol):
    """What a command led to: the version of a stream."""

    @property
    def stream_id(self) -> UUID:
        """The stream."""
        ...

    @property
    def version(self) -> int:
        """Its version then."""
        ...


S = TypeVar("S")
T = TypeVar("T")
V = TypeVar("V", bound=Versioned)
E = TypeVar("E", bound=Event)
T_co = TypeVar("T_co", covariant=True)


@runtime_checkable
class Projected(Protocol):
    """Waits for the read tables, so that people read what they just wrote."""

    async def wait_for(self, stream_id: UUID, version: int, *, owner_id: UUID) -> str | None:
        """Return once the version is projected, or after a bound; its place as text, None when the bound passed."""
        ...


@runtime_checkable
class Views(Protocol[T_co]):
    """Things of one kind as the read tables tell them."""

    async def find(self, owner_id: UUID, id: UUID) -> T_co | None:  # noqa: A002  the thing's own id
        """A person's thing, None when there is none that is theirs."""
        ...


async def caller_of(request: AnyRequest) -> Caller:
    """The caller with the request's idempotency key; the fingerprint tells whether the key is used for the same request.

    Raises `InvalidInput` for a key that is too long or not printable.
    """
    command_id = header(request.headers, "idempotency-key")
    if command_id is None:
        return request.user
    if len(command_id) > COMMAND_ID_CHARS_MAX or not command_id.isprintable():
        raise InvalidInput(f"a key is 1 to {COMMAND_ID_CHARS_MAX} printable characters", field="Idempotency-Key")
    query = request.url.query and f"?{request.url.query}"
    digest = hashlib.sha256(f"{request.method} {request.url.path}{query}\n".encode() + await request.body())
    return msgspec.structs.replace(request.user, command_id=command_id, fingerprint=digest.digest())


def if_version(request: AnyRequest) -> int | None:
    """The version that If-Match (RFC 9110, 13.1.1) requires, None for none or `*`; `StaleVersion` for one we never gave."""
    condition = header(request.headers, "if-match")
    if condition in {None, "*"}:
        return None
    version = (condition or "").strip('"')
    if not version.isdecimal() or len(version) > VERSION_DIGITS_MAX:
        raise StaleVersion
    return int(version)


def first_of(written: Written[Any], kind: type[E]) -> E:
    """The first new event of this kind. The answer to a creation is made of it, so that a repeated one is the same."""
    return next(event for event in written.events if isinstance(event, kind))


async def started(
    request: AnyRequest,
    command: Awaitable[Written[S]],
    shape: Callable[[Written[S]], T],
    projected: Projected,
    *,
    status: int = 201,
    collection: str | None = None,
) -> Response[Envelope[T]]:
    """Carry out a command that starts something, and answer with it as it was written; the first answer again when the
    command was carried out before. `collection` is the path of what a new thing belongs to, unless that is the request's."""
    try:
        written = await command
    except IdempotentReplay as replay:
        return await _again(request, replay.receipt, projected, collection=collection)
    position = await projected.wait_for(written.stream_id, written.version, owner_id=request.user.user_id)
    return _told(request, shape(written), written, position=position, status=status, collection=collection)


async def changed(
    request: AnyRequest,
    caller: Caller,
    shell: Shell,
    command: Awaitable[Written[Any]],
    views: Views[V],
    projected: Projected,
) -> Response[Envelope[V]]:
    """Carry out a command that changes something, and answer with it as a GET tells it now. The answer is kept before it
    is given; a command that was carried out before gets it again, or its first one if none was ever given.

    Raises `TimeoutError` rather than to show the thing as it was before under the version it has now: whoever changes
    that again would undo this. Raises `NotFound` when it was deleted before it could be shown.
    """
    place: Placed
    try:
        place = await command
    except IdempotentReplay as replay:
        if replay.receipt.answer is not None:
            return await _again(request, replay.receipt, projected)
        place = replay.receipt
    position = await projected.wait_for(place.stream_id, place.version, owner_id=caller.user_id)
    shape = await views.find(caller.user_id, place.stream_id)
    if shape is None and position is not None:
        raise NotFound
    if shape is None or shape.version < place.version:
        raise TimeoutError("the read tables are too far behind to show this")
    try:
        await shell.keep_answer(caller, shape)
    except IdempotentReplay as replay:
        return await _again(request, replay.receipt, projected)
    return _told(request, shape, place, position=position, status=200, again=isinstance(place, Receipt))


async def deleted(request: AnyRequest, command: Awaitable[Written[Any]], projected: Projected) -> Response[None]:
    """Carry out a command that leaves nothing to show, and answer with its place in the log only."""
    place: Placed
    try:
        place = await command
    except IdempotentReplay as replay:
        place = replay.receipt
    position = await projected.wait_for(place.stream_id, place.version, owner_id=request.user.user_id)
    headers = _headers(position=position, again=isinstance(place, Receipt))
    return Response(None, status_code=204, headers=headers)


async def _again(
    request: AnyRequest, receipt: Receipt, projected: Projected, *, collection: str | None = None
) -> Response[Envelope[Any]]:
    position = await projected.wait_for(receipt.stream_id, receipt.version, owner_id=request.user.user_id)
    status = receipt.status
    return _told(request, receipt.answer, receipt, position=position, status=status, collection=collection, again=True)


def _told(
    request: AnyRequest,
    data: T,
    place: Placed,
    *,
    position: str | None,
    status: int,
    collection: str | None = None,
    again: bool = False,
) -> Response[Envelope[T]]:
    """What was written, its version as ETag, its place in the log."""
    headers = {"ETag": f'"{place.version}"', **_headers(position=position, again=again)}
    if status == 201:
        headers["Location"] = f"{collection or request.url.path.rstrip('/')}/{place.stream_id}"
    return Response(answer(request, data), status_code=status, headers=headers)


def _headers(*, position: str | None, again: bool) -> dict[str, str]:
    return {
        **({} if position is None else {"Vigil-Position": position}),
        **({"Idempotency-Replayed": "true"} if again else {}),
    }
