"""The composition root: every adapter that the settings ask for, made once and given to whoever needs it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from adapters.postgres_person_keys import installation_person_keys
from adapters.postgres_pool import open_pool
from bootstrap.moving_parts import MovingParts
from bootstrap.process_adapters import Endpoints, user_agent
from bootstrap.settings import Settings
from bootstrap.write_side import WriteSide

__all__ = ["Endpoints", "Parts", "open_parts", "user_agent"]

REDIS_TIMEOUT_SECONDS = 3.0
"""Above the longest blocking read, so that a silent Redis is told from a hanging one."""


class Parts(WriteSide, MovingParts):
    """The adapters of one process, and everything built from them."""


@asynccontextmanager
async def open_parts(settings: Settings, endpoints: Endpoints, secret: bytes) -> AsyncIterator[Parts]:
    """The parts of this process, with their connections, closed afterwards. Raises `WrappingKeyMissing`."""
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            open_pool(
                endpoints.database_url,
                size_max=settings.pool_size,
                answer_seconds_max=settings.database_timeout_seconds,
            )
        )
        client = redis.from_url(
            endpoints.redis_url,
            socket_timeout=REDIS_TIMEOUT_SECONDS,
            socket_connect_timeout=REDIS_TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
            health_check_interval=30,
        )
        stack.push_async_callback(client.aclose)
        people = await installation_person_keys(pool, settings.data_dir, settings.secret_key, settings.wrapping_keys)
        parts = Parts(settings, endpoints, secret, pool=pool, client=client, people=people)
        stack.push_async_callback(parts.close)
        yield parts
