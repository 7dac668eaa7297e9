"""The tail of the log in Redis Streams. Redis only caches: FLUSHALL at any moment loses nothing and doubles nothing."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import msgspec
import redis.asyncio as redis

from domain.log_entry import LogEntry

TAIL_ENTRIES_MAX = 20_000
"""About how many entries of each partition stay in Redis; who is further behind reads PostgreSQL."""

# Appends entries with ids `<place>-0` to one partition, if its last entry is the given one (which says the history before
# it, too) or the stream is empty (new, flushed, restarted). Otherwise nothing is appended, and the answer is 0.
_PUBLISH = """
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
if #last > 0 and last[1][2][2] ~= ARGV[3] then return 0 end
for i = 4, #ARGV do
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], (ARGV[2] + i - 4) .. '-0', 'e', ARGV[i])
end
return 1
"""

_entry_encoder = msgspec.json.Encoder()
_entry_decoder = msgspec.json.Decoder(LogEntry)


@contextmanager
def redis_failures() -> Iterator[None]:
    """Tell every way in which Redis fails to answer as `ConnectionError`, so that ports need not know the vendor."""
    try:
        yield
    except redis.RedisError as error:
        raise ConnectionError(str(error)) from error


class RedisLog:
    """Publishing and reading the tail of each partition. `client` must not decode answers."""

    def __init__(self, client: redis.Redis, *, namespace: str) -> None:
        self._client: Any = client
        self._namespace = namespace
        self._publish = self._client.register_script(_PUBLISH)

    def _key(self, partition: int) -> str:
        return f"{self._namespace}:log:{{p{partition:02d}}}"

    async def publish(self, partition: int, entries: Sequence[LogEntry], *, after: LogEntry | None) -> bool:
        """Append consecutive entries of one partition behind `after`, which they follow in the log. False when the stream
        ends with anything else; then nothing was published."""
        arguments: list[int | bytes] = [
            TAIL_ENTRIES_MAX,
            entries[0].place,
            b"" if after is None else _entry_encoder.encode(after),
            *(_entry_encoder.encode(entry) for entry in entries),
        ]
        with redis_failures():
            return bool(await self._publish(keys=[self._key(partition)], args=arguments))

    async def last(self, partition: int) -> LogEntry | None:
        """The last entry in Redis, None when the stream is empty. Raises `ValueError` for what is no entry, or stands at
        another id than its own: nothing could be appended behind it."""
        with redis_failures():
            newest = await self._client.xrevrange(self._key(partition), count=1)
        if not newest:
            return None
        ((id_, fields),) = newest
        entry = _entry(fields)
        if id_ != b"%d-0" % entry.place:
            raise ValueError(f"place {entry.place} stands at the id {id_!r}")
        return entry

    async def forget(self, partition: int) -> None:
        """Drop a stream that no longer fits the log, so that it can start anywhere again."""
        with redis_failures():
            await self._client.delete(self._key(partition))

    async def read(self, after: Mapping[int, int], *, limit: int, block_ms: int) -> list[LogEntry]:
        """Entries after the given place of each partition, at most `limit` of each; waits up to `block_ms` for the
        first. Empty answers prove nothing: only a comparison with PostgreSQL tells silence from loss. Behind what is no
        entry of this program's nothing of its partition is read."""
        streams = {self._key(partition): f"{place}-0" for partition, place in after.items()}
        with redis_failures():
            answer = await self._client.xread(streams, count=limit, block=block_ms)
        return [entry for _, entries in answer for entry in _readable(entries)]


def _readable(entries: Sequence[tuple[bytes, Mapping[bytes, bytes]]]) -> Iterator[LogEntry]:
    """Those up to what another program wrote there."""
    with suppress(ValueError):
        for _, fields in entries:
            yield _entry(fields)


def _entry(fields: Mapping[bytes, bytes]) -> LogEntry:
    """Raises `ValueError` for what no relay wrote."""
    return _entry_decoder.decode(fields.get(b"e", b""))
