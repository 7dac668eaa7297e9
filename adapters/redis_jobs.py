"""The queue of evaluations on a Redis Stream with a consumer group: at least once to some worker.

A job that Redis loses is handed out again by the scheduler, a job whose worker died is claimed by another one.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import redis.asyncio as redis
import structlog

from adapters.redis_log import redis_failures
from domain.evaluation import EvaluationJob

log = structlog.get_logger()

GROUP = "evaluators"

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(EvaluationJob)


class RedisJobs:
    """Fulfils the queue ports of scheduler and evaluator. `client` must not decode answers."""

    def __init__(self, client: redis.Redis, *, namespace: str, consumer: str) -> None:
        self._client: Any = client
        self._key = f"{namespace}:jobs"
        self._marker = f"{namespace}:jobs:marker"
        self._consumer = consumer

    async def enqueue(self, jobs: Sequence[EvaluationJob]) -> None:
        """Put jobs at the end of the queue, all in one round trip."""
        with redis_failures():
            async with self._client.pipeline(transaction=False) as pipe:
                for job in jobs:
                    pipe.xadd(self._key, {"j": _encoder.encode(job)})
                await pipe.execute()

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
        return [_job(entry) for _, entries in answer for entry in entries]

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
        return [_job(entry) for entry in answer[1] if entry[1]]

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

    async def done(self, receipt: str) -> None:
        """The job is finished and needs no memory."""
        with redis_failures():
            async with self._client.pipeline(transaction=False) as pipe:
                pipe.xack(self._key, GROUP, receipt)
                pipe.xdel(self._key, receipt)
                await pipe.execute()

    async def _make_group(self) -> None:
        try:
            await self._client.xgroup_create(self._key, GROUP, id="0", mkstream=True)
            log.info("consumer group made", group=GROUP)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise


def _job(entry: Any) -> tuple[str, EvaluationJob]:  # noqa: ANN401  redis-py does not type entries
    receipt, fields = entry
    return receipt.decode(), _decoder.decode(fields[b"j"])
