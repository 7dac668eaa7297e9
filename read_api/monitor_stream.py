"""GET of /api/v1/monitors/{id}/stream: what happens to a monitor, as server-sent events (WHATWG HTML, 9.2)."""

from functools import partial
from typing import Annotated, Any
from uuid import UUID

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath, HeaderParameter
from litestar.response import Response, Stream
from litestar.response.base import ASGIResponse
from litestar.response.streaming import ASGIStreamingResponse
from litestar.types import Receive, Scope, Send

from commands.http.failures import RETRY_AFTER_SECONDS, AnyRequest, failure
from commands.http.form import ErrorEnvelope
from domain.errors import InvalidInput
from domain.log_entry import partition_of
from read_api.freshness import parse_position
from read_api.listener import Listener
from read_api.live import LiveMonitors, StreamsExhausted, StreamsOfPersonExceeded
from read_api.reading import REFUSALS, Reads, refusal

EVENT_STREAM = "text/event-stream"
UNCOMPRESSED = "uncompressed"
"""The `opt` key of routes whose answers are not compressed: each stream would hold the state of a compressor."""

_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""Nothing between us and the client may keep the stream back; the second is what nginx asks for."""

LAST_EVENT_ID = "Last-Event-ID"


class LiveStream(Stream):
    """The answer that a listener listens to. The listener leaves when it ends, also before its first message."""

    def __init__(self, live: LiveMonitors, listener: Listener, first: bytes) -> None:
        self.messages = listener.messages(first)
        super().__init__(self.messages, media_type=EVENT_STREAM, headers=_HEADERS)
        self.leave = partial(live.leave, listener)

    def to_asgi_response(self, app: Any, request: Any, **given: Any) -> ASGIResponse:  # noqa: ANN401  as Litestar gives them
        """The answer as Litestar sends it."""
        _ = (app, request)
        headers = {**(given.get("headers") or {}), **self.headers}
        return _Sent(self, headers=headers, encoded_headers=given.get("encoded_headers"))


class _Sent(ASGIStreamingResponse):
    def __init__(self, stream: LiveStream, **given: Any) -> None:  # noqa: ANN401  as Litestar takes them
        super().__init__(iterator=stream.messages, media_type=EVENT_STREAM, status_code=200, **given)
        self._leave = stream.leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._leave()


def on_too_many(request: AnyRequest, _error: StreamsOfPersonExceeded) -> Response[ErrorEnvelope]:
    """429 STREAM_LIMIT_EXCEEDED."""
    message = "you have as many live streams open as one person may have; close one first"
    answer = failure(request, 429, "STREAM_LIMIT_EXCEEDED", message)
    answer.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return answer


def on_exhausted(request: AnyRequest, _error: StreamsExhausted) -> Response[ErrorEnvelope]:
    """503: another process, or this one later, may have room."""
    answer = failure(request, 503, "SERVICE_UNAVAILABLE", "there is no room for another live stream; try again soon")
    answer.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return answer


class MonitorStream(Reads):
    """Listening to monitors."""

    path = "/monitors"
    tags = ("Monitors",)

    @get(
        "/{monitor_id:uuid}/stream",
        summary="Listen to a monitor",
        media_type=EVENT_STREAM,
        opt={UNCOMPRESSED: True},
        exception_handlers={StreamsOfPersonExceeded: on_too_many, StreamsExhausted: on_exhausted},
        response_description="The stream, until it ends.",
        responses={**REFUSALS, 429: refusal("You have too many live streams open.")},
    )
    async def stream_monitor(
        self,
        request: AnyRequest,
        monitor_id: FromPath[UUID],
        live_monitors: NamedDependency[LiveMonitors],
        last_event_id: Annotated[
            str | None,
            HeaderParameter(
                name=LAST_EVENT_ID,
                description="The `id` of the last event you got: what came after it is sent first. Without it the stream"
                " begins with the monitor as it is.",
            ),
        ] = None,
    ) -> Stream:
        """Server-sent events, live, each with its place in the log as `id` and JSON as `data`.

        `evaluation`: one came to its end, as `GET` of it answers. `change`: the state switched, as in the list of changes.
        `monitor`: it was changed, paused, resumed or deleted; the monitor as it is now. `reset`: you missed more than is
        sent again; read the history, then go on. `end`: the last event, with the `reason`: after `token_expired` and
        `shutdown` connect again with a valid token. What is sent can be read. After 15 s of silence a comment is sent.
        """
        caller = request.user
        since = None if not last_event_id else _place(last_event_id, caller.user_id)
        listener, first = await live_monitors.listen(
            caller.user_id, monitor_id, since=since, expires_at=caller.expires_at
        )
        return LiveStream(live_monitors, listener, first)


def _place(event_id: str, user_id: UUID) -> int:
    partition, place = parse_position(event_id, field=LAST_EVENT_ID)
    if partition != partition_of(user_id):
        raise InvalidInput("this id is from a stream of somebody else; leave it out", field=LAST_EVENT_ID)
    return place
