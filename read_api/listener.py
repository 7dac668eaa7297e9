"""Somebody who listens to a monitor, and the events as they are sent (WHATWG HTML, 9.2.6)."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from enum import StrEnum
from uuid import UUID

import msgspec
from litestar.response.sse import ServerSentEventMessage

from domain.log_entry import partition_of

HEARTBEAT_SECONDS = 15.0
"""After so much silence a comment is sent: proxies drop connections that are silent for longer (WHATWG HTML, 9.2.7)."""
RETRY_MS = 2000
"""How long a client waits before it connects again."""


class Ending(StrEnum):
    """Why a stream ends. After the first two connecting again goes on with it; after the others there is nothing more."""

    TOKEN_EXPIRED = "token_expired"  # noqa: S105  a reason, no secret
    SHUTDOWN = "shutdown"
    DELETED = "deleted"
    ERASED = "erased"


class EndShape(msgspec.Struct, frozen=True, kw_only=True):
    """The last event of a stream."""

    reason: Ending


class ResetShape(msgspec.Struct, frozen=True, kw_only=True):
    """What was missed is not sent; the message says where it can be read."""

    message: str


class Listener:
    """Somebody who listens to a monitor. `after` is the place in the partition of its owner up to which it was told."""

    def __init__(self, owner_id: UUID, monitor_id: UUID, after: int, *, until: float) -> None:
        """`until` is the time of the event loop's clock at which it ends."""
        self.owner_id, self.monitor_id, self.after = owner_id, monitor_id, after
        self.partition = partition_of(owner_id)
        self._until = until
        self._batch: Sequence[bytes] = ()
        self._ending: Ending | None = None
        self._woken = asyncio.Event()

    @property
    def takes(self) -> bool:
        """Whether it can be told more."""
        return not self._batch and self._ending is None

    def tell(self, batch: Sequence[bytes], *, after: int) -> None:
        """These are the next messages, and everything up to `after` is told by them."""
        self.after = after
        if batch:
            self._batch = batch
            self._woken.set()

    def end(self, ending: Ending) -> None:
        """Let it end after what it was told."""
        self._ending = self._ending or ending
        self._woken.set()

    async def messages(self, first: bytes) -> AsyncGenerator[bytes, None]:
        """The stream from its first message to its last."""
        yield first
        clock = asyncio.get_running_loop().time
        while True:
            self._woken.clear()
            for told in self._batch:
                yield told
            self._batch = ()
            silence = min(HEARTBEAT_SECONDS, self._until - clock())
            ending = self._ending or (Ending.TOKEN_EXPIRED if silence <= 0 else None)
            if ending is not None:
                yield message("end", EndShape(reason=ending), self.partition, self.after)
                return
            try:
                async with asyncio.timeout(silence):
                    await self._woken.wait()
            except TimeoutError:
                yield comment("still here")


def reset(monitor_id: UUID, partition: int, place: int) -> bytes:
    """The event for whoever is too far behind."""
    path = f"/api/v1/monitors/{monitor_id}"
    text = f"you missed more than is sent again: read GET {path}, {path}/history and {path}/changes, and go on here"
    return message("reset", ResetShape(message=text), partition, place)


def message(kind: str, shape: object, partition: int, place: int, *, retry: int | None = None) -> bytes:
    """An event as it is sent; `retry` is in milliseconds."""
    data = msgspec.json.encode(shape)
    return ServerSentEventMessage(event=kind, id=f"{partition}.{place}", data=data, retry=retry).encode()


def comment(text: str) -> bytes:
    """What clients pass over."""
    return ServerSentEventMessage(data=None, comment=text).encode()
