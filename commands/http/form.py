"""Envelopes: every answer of the API has one form (API.md, Form)."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

import msgspec
from litestar import Request

from commands.caller import Caller

API_VERSION = "1.0.0"

T = TypeVar("T")

AnyRequest = Request[Caller, Any, Any]


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """What surrounds an answer: the request's id, the API's version, when it was answered."""

    request_id: str
    version: str
    timestamp: datetime


class Pagination(msgspec.Struct, frozen=True, kw_only=True):
    """Where a page lies in its list. `total` is null and `next_cursor` set where a list is read by cursor."""

    limit: int
    offset: int | None
    total: int | None
    has_more: bool
    next_cursor: str | None = None


class Envelope(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """An answer with one thing in it."""

    data: T
    meta: Meta


class Page(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """An answer with a part of a list in it."""

    data: Sequence[T]
    pagination: Pagination
    meta: Meta


class ErrorDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong: the field (a path such as `sources[0].url`), a stable word, and what to do."""

    field: str | None
    issue: str
    message: str


class RequestInvalid(Exception):
    """The request is not what the route takes; `details` name everything that is wrong."""

    def __init__(self, details: Sequence[ErrorDetail]) -> None:
        self.details = details
        super().__init__()


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong. `code` is stable and documented at `documentation_url`."""

    code: str
    message: str
    details: Sequence[ErrorDetail]
    documentation_url: str
    correlation_id: str
    timestamp: datetime


class ErrorEnvelope(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that says what went wrong."""

    error: ErrorBody
    meta: Meta


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """The id of what was set in motion."""

    id: UUID


def meta_of(request: Request[Any, Any, Any]) -> Meta:
    """The meta part of the answer to `request`."""
    return Meta(
        request_id=str(request.scope.get("vigil.request_id", "")), version=API_VERSION, timestamp=datetime.now(UTC)
    )


def answer(request: Request[Any, Any, Any], data: T) -> Envelope[T]:
    """One thing, in its envelope."""
    return Envelope(data=data, meta=meta_of(request))
