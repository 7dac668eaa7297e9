"""Circuit breakers that all processes share through Redis, each of which decides by itself as well.

A process whose breaker changes tells Redis; the others read that once a second. Who may make the one probe is decided in
Redis. While Redis does not answer, each process knows what it found out itself, and nobody waits: what is asked of Redis is
waited for `WAIT_SECONDS`, and then not at all for `AWAY_SECONDS`.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import redis.asyncio as redis
import structlog

from adapters.redis_log import redis_failures
from domain.breaker import PROBE_SECONDS_MAX, Breaker, BreakerView
from domain.model_call import CallOutcome

log = structlog.get_logger()

READ_SECONDS = 1.0
"""How old what a process knows of the others may be when it asks."""
WAIT_SECONDS = 0.05
ANSWER_SECONDS_MAX = 1.0
"""When what nobody waits for any more is given up."""
AWAY_SECONDS = 5.0
KEPT_SECONDS = 600.0
"""How long Redis knows a breaker after its rest."""

# Times are microseconds of Redis' clock, and leave it as durations. `changed` tells one change from another, also those of
# before and after a FLUSHALL. A breaker whose rest was of 0 is closed. `because` names the change it belongs to: a process
# of an earlier version tells changes without it.
_READ = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local answer = {}
for place, key in ipairs(KEYS) do
  local kept = redis.call('HMGET', key, 'changed', 'until', 'pause', 'failures', 'opened', 'because')
  answer[place] = kept[1] and {
    kept[1], string.format('%.0f', kept[2] - now), kept[3], kept[4], string.format('%.0f', now - kept[5]),
    string.match(kept[6] or '', '^' .. kept[1] .. ' (.*)$') or ''
  } or {}
end
return answer
"""
_TELL = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local changed = string.format('%.0f', now)
redis.call('HSET', KEYS[1], 'changed', changed, 'until', string.format('%.0f', now + ARGV[1]), 'pause', ARGV[2],
  'failures', ARGV[3], 'opened', string.format('%.0f', now - ARGV[4]), 'because', changed .. ' ' .. ARGV[7])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
if redis.call('GET', KEYS[2]) == ARGV[6] then redis.call('DEL', KEYS[2]) end
return changed
"""
# Whoever does not know the last change has still to hear what the last probe came to.
_PROBE = """
local changed = redis.call('HGET', KEYS[1], 'changed')
if changed and changed ~= ARGV[3] then return 0 end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
return redis.call('GET', KEYS[2]) == ARGV[1] and 1 or 0
"""


@dataclass(slots=True, eq=False)
class _Kept:
    """A breaker, and what of it is known in Redis: `seen` is the change that was read or told last, `is_news` that there is
    something to tell. Until `not_before` it was somebody else's turn to probe."""

    provider: str
    model: str
    keys: tuple[str, str]
    breaker: Breaker = field(default_factory=Breaker)
    seen: bytes = b""
    is_news: bool = False
    telling: asyncio.Task[None] | None = None
    not_before: float = -math.inf


_allowed: ContextVar[tuple[_Kept, int] | None] = ContextVar("allowed", default=None)
"""What the task that asks was last allowed: which breaker, and in which of its turns. The call it makes then ends in the
same task, so nobody has to hand this on."""


class RedisBreakers:
    """Fulfils the port of the inquiries. `client` must not decode answers; `holder` names this process among all;
    `monotonic` is its own clock, in seconds."""

    def __init__(self, client: redis.Redis, *, namespace: str, holder: str, monotonic: Callable[[], float]) -> None:
        self._namespace, self._holder, self._monotonic = namespace, holder, monotonic
        self._read_script: Any = client.register_script(_READ)
        self._tell_script: Any = client.register_script(_TELL)
        self._probe_script: Any = client.register_script(_PROBE)
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._reading: asyncio.Task[None] | None = None
        self._read_again_at = self._away_until = -math.inf
        self._is_away = False

    async def allows(self, provider: str, model: str) -> bool:
        """Whether to ask now; of one that has rested, one caller of all processes may."""
        kept = self._of(provider, model)
        await self._hear()
        now = self._monotonic()
        if not kept.breaker.is_closed and now < kept.not_before:
            return False
        turn = kept.breaker.ask(now)
        if turn is None or not (kept.breaker.is_closed or await self._gets_probe(kept, turn)):
            return False
        _allowed.set((kept, turn))
        return True

    def note(self, provider: str, model: str, outcome: CallOutcome) -> None:
        """How a call that was allowed ended; with `budget_exceeded` it was not made. Called in the task that asked, it is
        about that call; in another one, about the present."""
        kept = self._of(provider, model)
        breaker, allowed = kept.breaker, _allowed.get()
        turn = breaker.turn if allowed is None or allowed[0] is not kept else allowed[1]
        before, was_closed = breaker.turn, breaker.is_closed
        breaker.note(turn, outcome, self._monotonic())
        if breaker.turn != before:
            self._told_people(kept)
            self._tell(kept)
        elif turn == before and not was_closed:  # a probe that was not made
            self._tell(kept)

    async def states(self, of: Iterable[tuple[str, str]]) -> list[BreakerView]:
        """How the breakers of these providers and models stand, as far as this process knows or can hear in
        `WAIT_SECONDS`."""
        found = [self._of(provider, model) for provider, model in of]
        await self._hear()
        return [self._view(kept) for kept in found]

    def view(self, provider: str, model: str) -> BreakerView:
        """How one stands, as far as this process knows."""
        return self._view(self._of(provider, model))

    async def end_rest(self, provider: str, model: str) -> bool:
        """It answered somebody who asked without being allowed to. Whether it rested, and Redis knows now that it does not."""
        kept = self._of(provider, model)
        await self._read()
        if kept.breaker.is_closed:
            return False
        kept.breaker.close()
        self._tell(kept)
        await self.close()
        return not kept.is_news

    async def close(self) -> None:
        """Tell what is still to be told, for as long as Redis takes at most."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _view(self, kept: _Kept) -> BreakerView:
        breaker, now = kept.breaker, self._monotonic()
        return BreakerView(
            provider=kept.provider,
            model=kept.model,
            state=breaker.state(now),
            failures=breaker.failures,
            open_seconds=breaker.open_seconds(now),
            rest_seconds=0.0 if breaker.is_closed else breaker.rest_seconds(now),
            because=None if breaker.is_closed else breaker.because,
            is_shared=not self._is_away and not kept.is_news,
        )

    def _of(self, provider: str, model: str) -> _Kept:
        kept = self._kept.get((provider, model))
        if kept is None:
            key = f"{self._namespace}:breaker:{provider}:{model}"
            kept = self._kept[provider, model] = _Kept(provider, model, (key, f"{key}:probe"))
            self._read_again_at = self._away_until
        return kept

    async def _hear(self) -> None:
        """Know what the others found out, if it is time to ask and Redis answers soon. One question is under way at a
        time."""
        if self._monotonic() < self._read_again_at:
            return
        if self._reading is None or self._reading.done():
            self._reading = self._begun(self._read())
        await self._in_time(self._reading)

    async def _read(self) -> None:
        every = list(self._kept.values())
        answer = await self._asked(self._read_script, [kept.keys[0] for kept in every])
        if answer is None:
            return
        if len(every) == len(self._kept):
            self._read_again_at = self._monotonic() + READ_SECONDS
        for kept, record in zip(every, answer, strict=True):
            if kept.is_news or not (record or kept.breaker.is_closed):  # it is not known there, or not any more
                self._tell(kept)
            elif record and record[0] != kept.seen:
                self._believe(kept, *record)

    def _believe(self, kept: _Kept, changed: bytes, *told: bytes) -> None:
        """Take over what another process found out."""
        rest, pause, failures, opened = map(int, told[:4])
        kept.seen = changed
        breaker, now = kept.breaker, self._monotonic()
        has_rested = not breaker.is_closed and breaker.rest_seconds(now) == 0
        if pause == 0:
            if not breaker.is_closed:
                breaker.close()
        elif rest > 0 or not has_rested:  # else it is no news, and a probe of this process may be under way
            breaker.rest(
                now,
                seconds=rest / 1_000_000,
                pause_seconds=pause / 1_000_000,
                failures=failures,
                open_seconds=max(0.0, opened / 1_000_000),
                because=next((one for one in CallOutcome if one.encode() == told[4]), None),
            )
        kept.not_before = -math.inf

    async def _gets_probe(self, kept: _Kept, turn: int) -> bool:
        """Whether no other process probes. What is taken here is given back when one does."""
        if self._monotonic() < self._away_until:
            return True
        lease = (self._holder, round(PROBE_SECONDS_MAX * 1000), kept.seen)
        asking = self._begun(self._asked(self._probe_script, kept.keys, *lease))
        is_made = False
        try:
            is_free = not await self._in_time(asking) or asking.result() in {1, None}
            is_made = is_free and kept.breaker.turn == turn
        finally:
            if not is_made:
                kept.breaker.note(turn, CallOutcome.BUDGET_EXCEEDED, self._monotonic())
        if not is_free:
            kept.not_before = self._monotonic() + READ_SECONDS
        return is_made

    def _tell(self, kept: _Kept) -> None:
        """Have Redis know how the breaker stands: what is told is always the present, and one change after the other."""
        kept.is_news = True
        if (kept.telling is None or kept.telling.done()) and self._monotonic() >= self._away_until:
            kept.telling = self._begun(self._told(kept))

    async def _told(self, kept: _Kept) -> None:
        while kept.is_news:
            breaker, now = kept.breaker, self._monotonic()
            rest = 0.0 if breaker.is_closed else breaker.rest_seconds(now)
            times = [round(seconds * 1_000_000) for seconds in (rest, breaker.pause_seconds, breaker.open_seconds(now))]
            kept_ms = round((rest + KEPT_SECONDS) * 1000)
            told = (times[0], times[1], breaker.failures, times[2], kept_ms, self._holder, breaker.because or "")
            kept.is_news = False
            changed = await self._asked(self._tell_script, kept.keys, *told)
            if changed is None:
                kept.is_news = True
                return  # until Redis is read again
            kept.seen = changed

    async def _asked(self, script: Any, keys: Iterable[str], *arguments: object) -> Any:  # noqa: ANN401  redis-py types no scripts
        """Redis' answer, None when there was none."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                with redis_failures():
                    answer = await script(keys=list(keys), args=arguments)
        except OSError as error:
            self._missed(repr(error))
            return None
        self._away_until = -math.inf
        if self._is_away:
            self._is_away = False
            log.info("Redis answers; processes share what they know of providers again")
        return answer

    async def _in_time(self, asking: asyncio.Task[Any]) -> bool:
        done, _ = await asyncio.wait([asking], timeout=WAIT_SECONDS)
        if not done:
            self._missed("no answer in time")
        return bool(done)

    def _missed(self, why: str) -> None:
        self._away_until = self._read_again_at = self._monotonic() + AWAY_SECONDS
        if not self._is_away:
            self._is_away = True
            log.warning("Redis does not answer; each process judges providers by itself", error=why)

    def _begun(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _told_people(self, kept: _Kept) -> None:
        names = {"provider": kept.provider, "model": kept.model}
        if kept.breaker.is_closed:
            log.info("a provider answers again", **names)
        else:
            breaker, rest = kept.breaker, round(kept.breaker.rest_seconds(self._monotonic()))
            log.warning("a provider rests", **names, outcome=breaker.because, failures=breaker.failures, seconds=rest)
