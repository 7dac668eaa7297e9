"""The queue of evaluations on Redis Streams with a consumer group: at least once to some worker. Each lane is a stream of
its own, so that what somebody waits for overtakes what the schedule brings.

A job that Redis loses is handed out again by the scheduler, a job whose worker died is claimed by another one.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import redis.asyncio as redis
import structlog

from adapters.redis_log import redis_failures
from domain.evaluation import EvaluationJob, Lane

log = structlog.get_logger()

GROUP = "evaluators"

# One command for a batch: packing thousands of commands costs more than all they do.
_ENQUEUE = """
for i = 1, #ARGV, 2 do
    redis.call('XADD', KEYS[tonumber(ARGV[i])], '*', 'j', ARGV[i + 1])
end
"""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(EvaluationJob)


class RedisJobs:
    """Fulfils the queue ports of scheduler and evaluator; jobs are taken from `lane`. `client` must not decode answers."""

    def __init__(self, client: redis.Redis, *, namespace: str, consumer: str, lane: Lane = Lane.SCHEDULED) -> None:
        self._client: Any = client
        self._keys = {Lane.ASKED: f"{namespace}:jobs:asked", Lane.SCHEDULED: f"{namespace}:jobs"}
        self._key = self._keys[lane]
        self._marker = f"{namespace}:jobs:marker"
        self._consumer = consumer
        self._enqueue = client.register_script(_ENQUEUE)
        self._namespace = namespace

    def of(self, lane: Lane) -> "RedisJobs":
        """The same queue, with jobs taken from another lane."""
        return RedisJobs(self._client, namespace=self._namespace, consumer=self._consumer, lane=lane)

    async def enqueue(self, jobs: Sequence[EvaluationJob]) -> None:
        """Put jobs at the end of their lanes, all in one round trip."""
        places = {lane: place for place, lane in enumerate(self._keys, start=1)}
        arguments = [part for job in jobs for part in (places[job.lane], _encoder.encode(job))]
        with redis_failures():
            await self._enqueue(keys=list(self._keys.values()), args=arguments)

    async def waiting(self) -> int:
        """How many scheduled jobs are queued and not done."""
        with redis_failures():
            return int(await self._client.xlen(self._keys[Lane.SCHEDULED]))

    async def was_lost(self) -> bool:
        """Whether Redis lost the queue (flushed, restarted empty) since anybody last asked: a marker beside the queue
        is gone. Only one caller is told."""
        with redis_failures():
            return bool(await self._client.set(self._marker, b"1", nx=True))

    async def take(self, count: int, *, block_ms: int) -> list[tuple[str, EvaluationJob]]:
        """Up to `count` jobs with their receipts, waiting up to `block_ms` for the first."""
        with redis_failures():
            try:
                answer = await self._client.xreadgroup(
                    GROUP, self._consumer, {self._key: ">"}, count=count, block=block_ms
                )
            except redis.ResponseError as error:
                if not str(error).startswith("NOGROUP"):
                    raise
                await self._make_group()
                return []
        return await self._readable([entry for _, entries in answer for entry in entries])

    async def take_over(self, count: int, *, idle_ms: int) -> list[tuple[str, EvaluationJob]]:
        """Jobs that another worker took more than `idle_ms` ago and never finished."""
        with redis_failures():
            try:
                answer = await self._client.xautoclaim(
                    self._key, GROUP, self._consumer, min_idle_time=idle_ms, count=count
                )
            except redis.ResponseError as error:
                if not str(error).startswith("NOGROUP"):
                    raise
                return []
        return await self._readable([entry for entry in answer[1] if entry[1]])

    async def renew(self, receipts: Sequence[str]) -> None:
        """These are still being worked on: their idle time starts again."""
        if not receipts:
            return
        with redis_failures():
            try:
                await self._client.xclaim(
                    self._key, GROUP, self._consumer, min_idle_time=0, message_ids=list(receipts), justid=True
                )
            except redis.ResponseError as error:
                if not str(error).startswith("NOGROUP"):
                    raise

    async def outlived(self, receipt: str) -> None:
        """Who took this job last did not die with it, though it is not done: that it was taken counts for nothing."""
        others = max(await self.times_taken(receipt) - 1, 0)
        with redis_failures():
            try:
                await self._client.xclaim(
                    self._key,
                    GROUP,
                    self._consumer,
                    min_idle_time=0,
                    message_ids=[receipt],
                    retrycount=others,
                    justid=True,
                )
            except redis.ResponseError as error:
                if not str(error).startswith("NOGROUP"):
                    raise

    async def done(self, receipts: Sequence[str]) -> None:
        """These jobs are finished and need no memory."""
        with redis_failures():
            async with self._client.pipeline(transaction=False) as pipe:
                pipe.xack(self._key, GROUP, *receipts)
                pipe.xdel(self._key, *receipts)
                await pipe.execute()

    async def times_taken(self, receipt: str) -> int:
        """How many workers took the entry so far: those before the present one died with it."""
        with redis_failures():
            try:
                entries = await self._client.xpending_range(self._key, GROUP, receipt, receipt, 1)
            except redis.ResponseError as error:
                if not str(error).startswith("NOGROUP"):
                    raise
                return 0
        return int(entries[0]["times_delivered"]) if entries else 0

    async def taken_seconds_ago(self) -> float | None:
        """How long ago any worker last took a job of this lane, or asked for one (Redis before 7.2 counts the first only);
        None when none ever did."""
        with redis_failures():
            try:
                consumers = await self._client.xinfo_consumers(self._key, GROUP)
            except redis.ResponseError:  # there is no such stream yet, or no such group
                return None
        return min((consumer["idle"] / 1000 for consumer in consumers), default=None)

    async def _readable(self, entries: Sequence[Any]) -> list[tuple[str, EvaluationJob]]:
        """The jobs in entries. What is no job, or one of another release, is dropped: it would come up again and again, and
        the database hands out what is due once more."""
        jobs, unreadable = list[tuple[str, EvaluationJob]](), list[str]()
        for receipt, fields in entries:
            try:
                jobs.append((receipt.decode(), _decoder.decode(fields[b"j"])))
            except (KeyError, msgspec.MsgspecError) as error:
                log.warning("no job", receipt=receipt.decode(), error=repr(error))
                unreadable.append(receipt.decode())
        if unreadable:
            await self.done(unreadable)
        return jobs

    async def _make_group(self) -> None:
        try:
            await self._client.xgroup_create(self._key, GROUP, id="0", mkstream=True)
            log.info("consumer group made", group=GROUP)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
