"""What routes that write have in common: idempotency keys, If-Match, and answers a person can read back at once."""

import hashlib
from typing import Any, Protocol, TypeVar, runtime_checkable
from uuid import UUID

import msgspec
from litestar import Response

from commands.http.caller import Caller, header
from commands.http.form import AnyRequest, Envelope, answer
from commands.shell import Written
from domain.errors import InvalidInput, StaleVersion
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
    digest = hashlib.sha256(f"{request.method} {request.url.path}\n".encode() + await request.body())
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


def written_answer(
    request: AnyRequest, shape: T, written: Written[Any], *, position: str | None, status: int
) -> Response[Envelope[T]]:
    """The answer to a command: what was written, its version as ETag, its place in the log."""
    headers = {"ETag": f'"{written.version}"'}
    if position is not None:
        headers["Vigil-Position"] = position
    if status == 201:
        headers["Location"] = f"{request.url.path.rstrip('/')}/{written.stream_id}"
    return Response(answer(request, shape), status_code=status, headers=headers)


def deleted_answer(position: str | None) -> Response[None]:
    """The answer to a command that leaves nothing to show: only its place in the log."""
    return Response(None, status_code=204, headers={} if position is None else {"Vigil-Position": position})


async def read_back(
    request: AnyRequest, written: Written[Any], views: Views[V], projected: Projected
) -> Response[Envelope[V]]:
    """The thing as a GET tells it, now that the command is done. Raises `TimeoutError` rather than to show it as it was
    before under the version it has now: whoever changes that again would undo this."""
    position = await projected.wait_for(written.stream_id, written.version, owner_id=request.user.user_id)
    shape = await views.find(request.user.user_id, written.stream_id)
    if shape is None or shape.version < written.version:
        raise TimeoutError("the read tables are too far behind to show this")
    return written_answer(request, shape, written, position=position, status=200)
