"""Read your own writes: waiting until the read tables have come as far as a write.

A position is `"<partition>.<place>"`; a person's writes are all in one partition, in one order (docs/decisions/0005).
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from litestar import Response
from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler
from litestar.types import Guard
from psycopg.rows import DictRow

from commands.caller import Caller
from commands.http.bearer import header
from commands.http.failures import RETRY_AFTER_SECONDS, AnyRequest, failure
from commands.http.form import ErrorEnvelope
from domain.errors import InvalidInput
from domain.log_entry import PARTITIONS, partition_of
from projections.core import CORE
from read_api.database import Pool, fetch_row, fetch_rows

MIN_POSITION = "Vigil-Min-Position"

_POSITION = re.compile(r"(0|[1-9][0-9]?)\.(0|[1-9][0-9]{0,17})", re.ASCII)
"""A place has at most 18 digits, which keeps it inside PostgreSQL's bigint."""

_REACHED = """
select position from checkpoint where consumer = %(consumer)s and partition = %(partition)s and position >= %(place)s
"""

# Look-ups by key, one for each version: a join's plan, made while the tables are small, may read all of them for ever.
_PLACES_OF_VERSIONS = """
select (
    select l.partition_position
    from event_log l
    join checkpoint c on c.consumer = %(consumer)s and c.partition = l.partition and c.position >= l.partition_position
    where l.stream_id = w.stream_id and l.version = w.version and l.partition = w.partition
) as place
from unnest(%(stream_ids)s::uuid[], %(versions)s::integer[], %(partitions)s::smallint[]) with ordinality
     as w (stream_id, version, partition, n)
order by w.n
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
        partition, place = parse_position(wanted, field=MIN_POSITION)
        if place == 0 or partition != partition_of(caller.user_id):
            return
        parameters = {"consumer": CORE.name, "partition": partition, "place": place}

        async def reached() -> DictRow | None:
            return await fetch_row(pool, _REACHED, parameters)

        if await _poll(reached, wait_seconds=wait_seconds, rest_seconds=rest_seconds) is None:
            raise StaleRead

    return wait


class ProjectionWait:
    """Fulfils `commands.http.writing.Projected`.

    One looks for all who wait: were each to look alone, a hundred who wait would keep busy the very database that the
    projector needs, and wait the longer.
    """

    def __init__(self, pool: Pool, *, wait_seconds: float = 1.0, rest_seconds: float = 0.003) -> None:
        self._pool = pool
        self._wait_seconds = wait_seconds
        self._rest_seconds = rest_seconds
        self._waiting: list[_Awaited] = []
        self._watch: asyncio.Task[None] | None = None

    async def wait_for(self, stream_id: UUID, version: int, *, owner_id: UUID) -> str | None:
        """The position of this version of the owner's stream once it is projected, None when that takes too long."""
        loop = asyncio.get_running_loop()
        awaited = _Awaited(
            stream_id, version, partition_of(owner_id), loop.time() + self._wait_seconds, loop.create_future()
        )
        self._waiting.append(awaited)
        if self._watch is None:
            self._watch = asyncio.create_task(self._watch_for_all())
        return await awaited.position

    async def _watch_for_all(self) -> None:
        clock = asyncio.get_running_loop().time
        while self._waiting:
            await asyncio.sleep(self._rest_seconds)  # first: nothing is projected sooner
            waiting, asked_at = self._waiting, clock()
            self._waiting = []
            try:
                rows = await fetch_rows(self._pool, _PLACES_OF_VERSIONS, _asked(waiting))
            except Exception as error:  # noqa: BLE001  whoever waits must learn of it, whatever it is
                for awaited in waiting:
                    awaited.fail(error)
            else:
                self._waiting += [
                    awaited
                    for awaited, row in zip(waiting, rows, strict=True)
                    if not awaited.is_told(row["place"], asked_at=asked_at)
                ]
        self._watch = None


@dataclass(frozen=True, slots=True)
class _Awaited:
    """A version of a stream that somebody waits for, and until when."""

    stream_id: UUID
    version: int
    partition: int
    deadline: float
    position: asyncio.Future[str | None]

    def is_told(self, place: int | None, *, asked_at: float) -> bool:
        """Tell whoever waits what was found, or that it took too long; whether there is nobody to be told any more."""
        if self.position.done():
            return True
        if place is None and asked_at < self.deadline:
            return False
        self.position.set_result(None if place is None else f"{self.partition}.{place}")
        return True

    def fail(self, error: Exception) -> None:
        """Tell whoever waits that nobody knows."""
        if not self.position.done():
            self.position.set_exception(error)


def _asked(waiting: Sequence[_Awaited]) -> dict[str, Any]:
    return {
        "consumer": CORE.name,
        "stream_ids": [awaited.stream_id for awaited in waiting],
        "versions": [awaited.version for awaited in waiting],
        "partitions": [awaited.partition for awaited in waiting],
    }


async def _poll(ask: Callable[[], Awaitable[T | None]], *, wait_seconds: float, rest_seconds: float) -> T | None:
    """The first answer that is not None, None when there was none in time."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + wait_seconds
    while True:
        found = await ask()
        if found is not None or clock() >= deadline:
            return found
        await asyncio.sleep(rest_seconds)


def parse_position(text: str, *, field: str) -> tuple[int, int]:
    """The partition and the place in a position; raises `InvalidInput` naming the field for anything else."""
    match = _POSITION.fullmatch(text)
    if match is None or int(match[1]) >= PARTITIONS:
        raise InvalidInput("send a position as Vigil gave it, such as 7.42", field=field)
    return int(match[1]), int(match[2])
