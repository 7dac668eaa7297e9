"""The servers a benchmark runs against: its own, in a temporary folder, as durable as those of `vigil up`."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from adapters import yoyo_migrations
from adapters.embedded_postgres import EmbeddedPostgres
from adapters.embedded_redis import EmbeddedRedis


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the servers of one run are: a libpq URL of a migrated, empty store, and a redis-py URL of an empty Redis."""

    folder: Path
    database_url: str
    redis_url: str


@contextmanager
def durable_servers() -> Iterator[Servers]:
    """Start PostgreSQL (fsync and synchronous_commit on, checked by `benchmarks.machine`) and Redis; on leaving both are
    stopped and the folder is removed. The folder is made where `TMPDIR` says: point it at the disk to be measured."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vigil-bench-")))
        postgres, cache = EmbeddedPostgres(folder), EmbeddedRedis(folder)
        stack.callback(postgres.stop)
        database_url = postgres.start()
        stack.callback(cache.stop)
        redis_url = cache.start()
        yoyo_migrations.up(database_url)
        yield Servers(folder, database_url, redis_url)
