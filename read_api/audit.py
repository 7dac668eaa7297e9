"""GET of /api/v1/audit: the log and its streams for auditors, and whether both are what they were.

Every read is written to the program's own log with who read what (OWASP ASVS 5.0, 16.3.3: access to sensitive data), not
to the log of events: auditing must not change what is audited.
"""

import re
from datetime import datetime
from typing import Annotated, Literal, Protocol, runtime_checkable
from uuid import UUID

import msgspec
import structlog
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.exceptions import ValidationException
from litestar.params import FromPath, QueryParameter

from commands.http.form import AnyRequest, Envelope, Meta, Page, Pagination, answer, meta_of
from commands.http.roles import requires_role
from domain.errors import InvalidInput
from domain.log_check import LogCheck
from domain.stream_name import read_stream_name
from read_api.audit_log import AuditEventShape, AuditLog, AuditStreamShape, Cut, EventFilter
from read_api.paging import HistoryLimit
from read_api.reading import LIST_REFUSALS, REFUSALS, Reads, refusal, refuse_unknown_parameters
from read_api.times import moment_given

log = structlog.get_logger()

VERIFY_POSITIONS_MAX = 10_000
"""So many positions one request verifies; a longer log takes several, and `vigil events verify` is not bounded."""
TEXT_CHARS_MAX = 200

_POSITION = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)
"""At most 18 digits, which keeps it inside PostgreSQL's bigint."""

FORBIDDEN = refusal("This needs the role auditor or admin.")

Place = Annotated[
    str | None, QueryParameter(description="`pagination.next_cursor` of the page before: a position of the log.")
]
VersionPlace = Annotated[
    str | None, QueryParameter(description="`pagination.next_cursor` of the page before: a version of the stream.")
]
Position = Annotated[int | None, QueryParameter(ge=1, le=10**18 - 1, description="A position of the log.")]


class AuditStreamPage(msgspec.Struct, frozen=True, kw_only=True):
    """An answer with a stream in it, and a part of its events."""

    data: AuditStreamShape
    pagination: Pagination
    meta: Meta


class VerificationShape(LogCheck, frozen=True, kw_only=True):
    """What came of comparing a part of the log with its hash chain and its signatures."""

    next_from_position: int | None


@runtime_checkable
class LogVerifier(Protocol):
    """Compares the log with itself."""

    async def check(self, *, first: int, last: int) -> LogCheck:
        """Follow the chain over these positions, as far as there are such, and compare the heads signed in them."""
        ...


class AuditReads(Reads):
    """Reading as an auditor."""

    path = "/audit"
    tags = ("Audit",)
    guards = (requires_role("auditor", "admin"), refuse_unknown_parameters)

    @get("/events", summary="List events", responses={**LIST_REFUSALS, 403: FORBIDDEN})
    async def list_audit_events(
        self,
        request: AnyRequest,
        audit_log: NamedDependency[AuditLog],
        stream: Annotated[str | None, QueryParameter(description="Only those of this stream, as below.")] = None,
        event_type: Annotated[
            str | None,
            QueryParameter(name="type", max_length=TEXT_CHARS_MAX, description="Only those: `monitor.state_changed`."),
        ] = None,
        actor: Annotated[
            str | None,
            QueryParameter(
                max_length=TEXT_CHARS_MAX,
                description="Only what this person's id, worker (`evaluator`) or operator (`operator:ada`) did.",
            ),
        ] = None,
        correlation: Annotated[
            UUID | None,
            QueryParameter(description="Only what one request or one slot of a schedule set in motion: its id."),
        ] = None,
        start: Annotated[datetime | None, QueryParameter(name="from", description="Recorded then or later.")] = None,
        end: Annotated[datetime | None, QueryParameter(name="to", description="Recorded before then.")] = None,
        sort: Annotated[
            Literal["position:asc", "position:desc"], QueryParameter(description="The oldest or the newest first.")
        ] = "position:asc",
        limit: HistoryLimit = 100,
        cursor: Place = None,
    ) -> Page[AuditEventShape]:
        """Events of everybody in the order of the log, as they are stored. For auditors and admins.

        One request looks at 10,000 positions of the log at most: a page may have fewer events than `limit`, or none, while
        `has_more` is true. Go on with `next_cursor` until it is false. A cursor is a position, and may also be one that
        you know from elsewhere.
        """
        named = None if stream is None else read_stream_name(stream)
        wanted = EventFilter(
            stream_id=None if named is None else named.id,
            kind=None if named is None else named.kind,
            type=_text(event_type, field="type"),
            actor=_text(actor, field="actor"),
            correlation_id=correlation,
            start=moment_given(start, field="from"),
            end=moment_given(end, field="to"),
        )
        if wanted.start is not None and wanted.end is not None and wanted.start > wanted.end:
            raise InvalidInput("from lies after to", field="from")
        _tell(request, **msgspec.to_builtins(wanted))
        newest_first = sort == "position:desc"
        found = await audit_log.events(wanted, beyond=_beyond(cursor), limit=limit, newest_first=newest_first)
        return Page(data=found.events, pagination=_pagination(limit, found.next), meta=meta_of(request))

    @get("/streams/{stream:str}", summary="Read a stream as it was", responses={**REFUSALS, 403: FORBIDDEN})
    async def read_audit_stream(
        self,
        request: AnyRequest,
        stream: FromPath[str],
        audit_log: NamedDependency[AuditLog],
        as_of: Annotated[datetime | None, QueryParameter(description="As it was then (RFC 3339).")] = None,
        version: Annotated[int | None, QueryParameter(ge=1, le=2**31 - 1, description="After this version.")] = None,
        position: Annotated[
            int | None, QueryParameter(ge=1, le=10**18 - 1, description="When the log had come to this position.")
        ] = None,
        limit: HistoryLimit = 100,
        cursor: VersionPlace = None,
    ) -> Response[AuditStreamPage]:
        """A stream of anybody: its events in their order, and the state they fold into. For auditors and admins.

        `stream` is an id, also as `monitor-<id>`. At most one of `as_of`, `version` and `position` says up to where; without
        them it is the present. The state is that after the last event, whichever page of the events is asked for.
        """
        cut = Cut(as_of=moment_given(as_of, field="as_of"), version=version, position=position)
        _refuse_several(as_of=as_of, version=version, position=position)
        wanted = read_stream_name(stream)
        _tell(request, as_of=as_of, version=version, position=position)
        found = await audit_log.stream(wanted, cut, after=_beyond(cursor) or 0, limit=limit)
        last = found.events[-1].version if found.events else found.version
        pagination = _pagination(limit, last if last < found.version else None)
        page = AuditStreamPage(data=found, pagination=pagination, meta=meta_of(request))
        return Response(page, headers={"ETag": f'"{found.version}"'})

    @get("/verify", summary="Verify the log", responses={**LIST_REFUSALS, 403: FORBIDDEN})
    async def verify_audit_log(
        self,
        request: AnyRequest,
        log_verifier: NamedDependency[LogVerifier],
        from_position: Position = None,
        to_position: Position = None,
    ) -> Envelope[VerificationShape]:
        """Whether each event gives its hash, each hash covers the one before, and each signed head is the log's.

        One request verifies 10,000 positions at most: `first` and `last` say which, `next_from_position` where to go on. For
        the whole proof, which also finds events that were put beside the log and needs no trust in this server, use
        `vigil events export --signed` and `vigil events verify`. For auditors and admins.
        """
        first, last = _range(from_position, to_position)
        _tell(request, from_position=first, to_position=last)
        found = await log_verifier.check(first=first, last=min(last, first + VERIFY_POSITIONS_MAX - 1))
        more = found.holds and found.last < min(last, found.head)
        shape = VerificationShape(**msgspec.structs.asdict(found), next_from_position=found.last + 1 if more else None)
        return answer(request, shape)


def _tell(request: AnyRequest, **asked: object) -> None:
    """Who read what, by the name the OWASP Logging Vocabulary has for it."""
    given = {name: value for name, value in asked.items() if value is not None}
    caller = request.user
    log.info(
        "sensitive_read",
        actor=str(caller.user_id),
        resource=request.url.path,
        asked=given,
        correlation_id=str(caller.correlation_id),
    )


def _text(text: str | None, *, field: str) -> str | None:
    if text is not None and "\x00" in text:
        raise InvalidInput("this has no NUL character", field=field)
    return text


def _beyond(cursor: str | None) -> int | None:
    if cursor is not None and _POSITION.fullmatch(cursor) is None:
        raise InvalidInput("take next_cursor from the page before; it is a number", field="cursor")
    return None if cursor is None else int(cursor)


def _refuse_several(**stops: object) -> None:
    given = [name for name, value in stops.items() if value is not None]
    if len(given) > 1:
        message = f"choose one of {', '.join(stops)}"
        raise ValidationException(extra=[{"key": name, "message": message} for name in given])


def _range(first: int | None, last: int | None) -> tuple[int, int]:
    """Both ends; one that is not given lies as far away as one request goes, `last` at the end of the log."""
    if first is None:
        first = 1 if last is None else max(1, last - VERIFY_POSITIONS_MAX + 1)
    last = 10**18 - 1 if last is None else last
    if first > last:
        raise InvalidInput("from_position lies after to_position", field="from_position")
    return first, last


def _pagination(limit: int, following: int | None) -> Pagination:
    cursor = None if following is None else str(following)
    return Pagination(limit=limit, offset=None, total=None, has_more=cursor is not None, next_cursor=cursor)
