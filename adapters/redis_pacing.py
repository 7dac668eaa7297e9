"""How often something may happen, counted in Redis for all processes together: GCRA, the leaky bucket without a bucket.

The generic cell rate algorithm (ITU-T I.371, annex A) keeps one moment for each key, the one at which everything admitted
so far would be used up at the steady rate. One script reads the time, decides and writes, so no two processes can both take
the last place, and the hour of their hosts does not matter (SECURITY.md, row 41). While Redis does not answer, each process
counts for itself, and stricter (row 44).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis.asyncio as redis
import structlog

from adapters.redis_log import redis_failures

log = structlog.get_logger()

LOCAL_SHARE = 4
"""Without Redis a process admits this part of what all may do together: up to so many processes stay within the limit."""
LOCAL_KEYS_MAX = 10_000
AWAY_SECONDS = 5.0
"""For so long Redis is not asked again after it did not answer."""

QUEUE_SECONDS_MAX = 600.0
"""Nobody is told to come back later than this after the first who waits: some that were told so never come."""

# Times are microseconds of Redis' clock. A moment further away than a full burst comes from a clock that was set back, or
# from another rate, and counts as a full one. Who would wait longer than ARGV[3] takes nothing; with ARGV[4] above 0 each of
# them is told a moment of their own. The answer: how long to wait.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, tolerance = tonumber(ARGV[1]), tonumber(ARGV[2])
local patience, queue_max = tonumber(ARGV[3]), tonumber(ARGV[4])
local kept = redis.call('HMGET', KEYS[1], 'used_up', 'held', 'queued')
local used_up = math.min(math.max(tonumber(kept[1] or 0), now), now + tolerance + interval + patience)
local held, queued = tonumber(kept[2] or 0), tonumber(kept[3] or 0)
local free = math.max(used_up - tolerance, held, now)
local answer = free
if free - now <= patience then
  used_up = math.max(used_up, free) + interval
  redis.call('HSET', KEYS[1], 'used_up', string.format('%.0f', used_up))
elseif queue_max > 0 then
  queued = math.min(math.max(queued, free) + interval, free + queue_max)
  redis.call('HSET', KEYS[1], 'queued', string.format('%.0f', queued))
  answer = queued
else
  return string.format('%.0f', free - now)
end
redis.call('PEXPIRE', KEYS[1], math.ceil((math.max(used_up, held, queued) - now) / 1000))
return string.format('%.0f', answer - now)
"""
_HOLD = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local held = math.max(tonumber(redis.call('HGET', KEYS[1], 'held') or 0), now + ARGV[1])
redis.call('HSET', KEYS[1], 'held', string.format('%.0f', held))
redis.call('PEXPIRE', KEYS[1], math.max(redis.call('PTTL', KEYS[1]), math.ceil((held - now) / 1000)))
"""


@dataclass(slots=True)
class _Count:
    """What is counted of one key in this process, in seconds of its own clock."""

    used_up: float = 0.0
    held: float = 0.0
    queued: float = 0.0


class Pacing:
    """Admits and holds. `client` must not decode answers; `monotonic` is this process' own clock, in seconds."""

    def __init__(self, client: redis.Redis, *, namespace: str, monotonic: Callable[[], float]) -> None:
        self._namespace = namespace
        self._monotonic = monotonic
        self._take: Any = client.register_script(_TAKE)
        self._hold: Any = client.register_script(_HOLD)
        self._local: dict[str, _Count] = {}
        self._away_until = -math.inf
        self._is_away = False

    async def take(self, key: str, *, per_second: float, burst: int) -> float:
        """Take one place of `key`, of which `burst` (at least 1) may be taken at once and `per_second` in the long run.

        0: taken. Else nothing was taken, and this many seconds from now there is one, if nobody else is faster.
        """
        return await self._taken(key, per_second, burst, patience=0.0, queue_max=0.0)

    async def take_or_queue(self, key: str, *, per_second: float, burst: int, patience: float) -> float:
        """Take a place that comes free within `patience` seconds, or be told when to come back.

        Up to `patience`: taken, and to be used after so many seconds. More: nothing was taken, and so many seconds from now
        it is this caller's turn; the turns of several lie apart by the rate, so that they do not come back all at once.
        """
        return await self._taken(key, per_second, burst, patience=patience, queue_max=QUEUE_SECONDS_MAX)

    async def hold(self, key: str, seconds: float) -> None:
        """For so long nobody takes a place of `key`. A hold that lasts longer stays."""
        count = self._counted(key)
        count.held = max(count.held, self._monotonic() + seconds)
        await self._asked(self._hold, key, round(seconds * 1_000_000))

    async def _asked(self, script: Any, key: str, *arguments: int) -> bytes | None:  # noqa: ANN401  redis-py types no scripts
        """Redis' answer, None while there is none to be had."""
        if self._monotonic() < self._away_until:
            return None
        try:
            with redis_failures():
                answer: bytes | None = await script(keys=[f"{self._namespace}:pace:{key}"], args=arguments)
        except OSError as error:
            self._away_until = self._monotonic() + AWAY_SECONDS
            if not self._is_away:
                self._is_away = True
                log.warning(
                    "Redis does not answer; each process limits rates by itself, and stricter", error=str(error)
                )
            return None
        if self._is_away:
            self._is_away = False
            log.info("Redis answers; rates are counted for all processes together again")
        return answer

    def held_here(self, key: str) -> float:
        """How many seconds longer this process knows `key` to be held, without asking Redis."""
        count = self._local.get(key)
        return 0.0 if count is None else max(0.0, count.held - self._monotonic())

    def counted_alone(self) -> None:
        """A place was counted by this process alone; for whoever counts that."""

    async def _taken(self, key: str, per_second: float, burst: int, *, patience: float, queue_max: float) -> float:
        count = self._local.get(key)
        if count is None or count.held <= self._monotonic():  # else Redis may have been flushed since
            interval = round(1_000_000 / per_second)
            limits = (interval, interval * (burst - 1), round(patience * 1_000_000), round(queue_max * 1_000_000))
            answer = await self._asked(self._take, key, *limits)
            if answer is not None:
                return int(answer) / 1_000_000
            self.counted_alone()
        return self._taken_here(key, LOCAL_SHARE / per_second, max(1, burst // LOCAL_SHARE), patience, queue_max)

    def _taken_here(self, key: str, interval: float, burst: int, patience: float, queue_max: float) -> float:
        """As the script does."""
        count, now = self._counted(key), self._monotonic()
        free = max(count.used_up - interval * (burst - 1), count.held, now)
        if free - now <= patience:
            count.used_up = max(count.used_up, free) + interval
            return free - now
        if queue_max > 0:
            count.queued = min(max(count.queued, free) + interval, free + queue_max)
            return count.queued - now
        return free - now

    def _counted(self, key: str) -> _Count:
        """The count of a key. Of too many the oldest go, those first that say nothing any more."""
        if key not in self._local and len(self._local) >= LOCAL_KEYS_MAX:
            now = self._monotonic()
            idle = [kept for kept, count in self._local.items() if max(count.used_up, count.held, count.queued) <= now]
            for kept in idle or list(self._local)[: LOCAL_KEYS_MAX // 10]:
                del self._local[kept]
        return self._local.setdefault(key, _Count())
