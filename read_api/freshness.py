"""Read your own writes: waiting until the read tables have come as far as a write.

A position is `"<partition>.<place>"`; a person's writes are all in one partition, in one order (docs/decisions/0005).
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from uuid import UUID

from litestar import Response
from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler
from litestar.types import Guard
from psycopg.rows import DictRow

from commands.http.caller import Caller, header
from commands.http.failures import RETRY_AFTER_SECONDS, AnyRequest, failure
from commands.http.form import ErrorEnvelope
from domain.errors import InvalidInput
from domain.log_entry import PARTITIONS, partition_of
from projections.core import CORE
from read_api.database import Pool, fetch_row

MIN_POSITION = "Vigil-Min-Position"

_POSITION = re.compile(r"(0|[1-9][0-9]?)\.(0|[1-9][0-9]{0,17})", re.ASCII)
"""A place has at most 18 digits, which keeps it inside PostgreSQL's bigint."""

_REACHED = """
select position from checkpoint where consumer = %(consumer)s and partition = %(partition)s and position >= %(place)s
"""

_PLACE_OF_VERSION = """
select l.partition_position as place
from event_log l
join checkpoint c on c.consumer = %(consumer)s and c.partition = l.partition and c.position >= l.partition_position
where l.stream_id = %(stream_id)s and l.version = %(version)s and l.partition = %(partition)s
"""

T = TypeVar("T")


class StaleRead(Exception):
    """The read tables have not come as far as the caller asked for."""


def on_stale_read(request: AnyRequest, _stale: StaleRead) -> Response[ErrorEnvelope]:
    """503 STALE_READ; the caller may ask again soon."""
    message = f"the read tables have not reached {MIN_POSITION} yet; try again soon, or leave the header out"
    answer = failure(request, 503, "STALE_READ", message)
    answer.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return answer


def fresh_reads(pool: Pool, *, wait_seconds: float = 2.0, rest_seconds: float = 0.005) -> Guard:
    """A Litestar guard: a GET with `Vigil-Min-Position` is answered from read tables that are at least so fresh.

    It waits at most `wait_seconds`, then raises `StaleRead`; raises `InvalidInput` for a position nobody was ever given.
    A position in somebody else's partition says nothing about the caller's rows and is passed over. It is a plain
    function because Litestar copies routers, and with them their guards, in depth.
    """

    async def wait(connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
        wanted = header(connection.headers, MIN_POSITION)
        caller = connection.scope.get("user")
        if wanted is None or connection.scope.get("method") != "GET" or not isinstance(caller, Caller):
            return
        partition, place = _parse(wanted)
        if place == 0 or partition != partition_of(caller.user_id):
            return
        parameters = {"consumer": CORE.name, "partition": partition, "place": place}

        async def reached() -> DictRow | None:
            return await fetch_row(pool, _REACHED, parameters)

        if await _poll(reached, wait_seconds=wait_seconds, rest_seconds=rest_seconds) is None:
            raise StaleRead

    return wait


class ProjectionWait:
    """Fulfils `commands.http.writing.Projected`."""

    def __init__(self, pool: Pool, *, wait_seconds: float = 1.0, rest_seconds: float = 0.003) -> None:
        self._pool = pool
        self._wait_seconds = wait_seconds
        self._rest_seconds = rest_seconds

    async def wait_for(self, stream_id: UUID, version: int, *, owner_id: UUID) -> str | None:
        """The position of this version of the owner's stream once it is projected, None when that takes too long."""
        partition = partition_of(owner_id)
        parameters = {"consumer": CORE.name, "stream_id": stream_id, "version": version, "partition": partition}

        async def position() -> str | None:
            row = await fetch_row(self._pool, _PLACE_OF_VERSION, parameters)
            return None if row is None else f"{partition}.{row['place']}"

        return await _poll(position, wait_seconds=self._wait_seconds, rest_seconds=self._rest_seconds)


async def _poll(ask: Callable[[], Awaitable[T | None]], *, wait_seconds: float, rest_seconds: float) -> T | None:
    """The first answer that is not None, None when there was none in time."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + wait_seconds
    while True:
        found = await ask()
        if found is not None or clock() >= deadline:
            return found
        await asyncio.sleep(rest_seconds)


def _parse(text: str) -> tuple[int, int]:
    match = _POSITION.fullmatch(text)
    if match is None or int(match[1]) >= PARTITIONS:
        raise InvalidInput("send a position as a Vigil-Position header gave it, such as 7.42", field=MIN_POSITION)
    return int(match[1]), int(match[2])
