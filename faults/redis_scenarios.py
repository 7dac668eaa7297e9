"""Harm to Redis: it forgets, dies, hangs, is full, or tells everything five times and in the wrong order."""

import asyncio
import os
import signal
import time

from faults.run import Run

ANSWER_SECONDS_MAX = 6.0
"""Row 9: what anybody waits for the API while Redis hangs: twice the time-out of Redis (bootstrap.parts)."""

# The newest entries of a partition are told again, five times and shuffled, under ids after its last; or instead of all it
# holds.
_SHUFFLE = """
math.randomseed(tonumber(ARGV[1]))
local entries = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 50)
if #entries == 0 then return 0 end
local last, taken = string.match(entries[1][1], '^(%d+)-(%d+)$')
local again = {}
for _, entry in ipairs(entries) do
  for _ = 1, 5 do table.insert(again, math.random(#again + 1), entry[2][2]) end
end
if ARGV[2] == 'instead' then redis.call('DEL', KEYS[1]) end
for i, told in ipairs(again) do
  redis.call('XADD', KEYS[1], last .. '-' .. (taken + i), 'e', told)
end
return #again
"""


async def forgets(run: Run) -> None:
    """FLUSHALL, a few times."""
    for _ in range(run.random.randint(2, 4)):
        await run.bulk.append(100)
        with run.installation.redis() as client:
            client.flushall()
        await asyncio.sleep(run.random.uniform(0.1, 1.0))


async def dies(run: Run) -> None:
    """Killed with -9, away for a while, and back with nothing."""
    os.kill(run.installation.redis_pid(), signal.SIGKILL)
    run.on_heal.callback(run.installation.start_redis)
    await run.bulk.append(200)
    await asyncio.sleep(run.random.uniform(0.2, 2.5))


async def hangs(run: Run) -> None:
    """SIGSTOP for some seconds."""
    await _hang(run, run.random.uniform(3.0, 5.0))


async def hangs_for_long(run: Run) -> None:
    """SIGSTOP for 30 s."""
    await _hang(run, 30.0)


async def _hang(run: Run, seconds: float) -> None:
    """Whoever asks the API is answered nevertheless, in time; everybody lives, and goes on when Redis does."""
    pid, began = run.installation.redis_pid(), time.monotonic()
    os.kill(pid, signal.SIGSTOP)
    run.on_heal.callback(os.kill, pid, signal.SIGCONT)
    await run.bulk.append(100)
    await asyncio.sleep(seconds)
    for command in run.ledger.commands:
        for attempt in command.attempts:
            if attempt.began_at > began and attempt.ended_at - attempt.began_at > ANSWER_SECONDS_MAX:
                waited = attempt.ended_at - attempt.began_at
                run.ledger.troubles.append(f"{command.method} {command.path} took {waited:.1f} s while Redis hung")


async def is_full(run: Run) -> None:
    """No room for anything more, and no leave to evict: `maxmemory 2mb`, `noeviction`."""
    with run.installation.redis() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "2mb")
    run.on_heal.callback(_make_room, run)
    for _ in range(30):
        await run.bulk.append(100)
        with run.installation.redis() as client:
            if int(client.info("memory")["used_memory"]) >= 2 * 1024 * 1024:
                break
    await run.bulk.append(100)
    await asyncio.sleep(run.random.uniform(0.5, 1.5))


async def repeats_itself(run: Run) -> None:
    """The newest entries told five times more, shuffled."""
    await run.bulk.append(60)
    with run.installation.redis() as client:
        for key in sorted(client.scan_iter("vigil:log:*")):
            how = run.random.choice(("besides", "instead"))
            client.eval(_SHUFFLE, 1, key, run.random.getrandbits(20), how)
    await run.bulk.append(60)
    await asyncio.sleep(run.random.uniform(0.2, 0.6))


def _make_room(run: Run) -> None:
    with run.installation.redis() as client:
        client.config_set("maxmemory", "0")
