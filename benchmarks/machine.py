"""The machine a figure was measured on: a figure without it says nothing."""

import os
import platform
import sys
from pathlib import Path

import msgspec
import psutil
import psycopg
import redis

_CPU_MODEL = "model name"
_SETTINGS = "select name, setting from pg_settings where name in ('server_version', 'fsync', 'synchronous_commit')"


class Machine(msgspec.Struct, frozen=True):
    """What figures depend on. `load_average` is the system's over the minute before: above the benchmark's own start it
    tells of others on the machine. `fsync` and `synchronous_commit` are as the server runs."""

    cores: int
    cpu: str
    memory_gib: float
    system: str
    python: str
    postgresql: str
    redis: str
    fsync: str
    synchronous_commit: str
    load_average: float

    def __str__(self) -> str:
        durability = f"fsync={self.fsync} synchronous_commit={self.synchronous_commit}"
        return (
            f"{self.cores} cores {self.cpu}, {self.memory_gib:g} GiB, {self.system}; Python {self.python}, "
            f"PostgreSQL {self.postgresql} ({durability}), Redis {self.redis}; load before: {self.load_average:.2f}"
        )


def describe(database_url: str, redis_url: str) -> Machine:
    """This machine with the servers at these URLs."""
    with psycopg.connect(database_url) as connection:
        settings: dict[str, str] = dict(connection.execute(_SETTINGS).fetchall())
    with redis.from_url(redis_url) as client:
        redis_version = client.info("server")["redis_version"]
    return Machine(
        cores=len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1,
        cpu=_cpu_model(),
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        postgresql=settings["server_version"],
        redis=redis_version,
        fsync=settings["fsync"],
        synchronous_commit=settings["synchronous_commit"],
        load_average=round(psutil.getloadavg()[0], 2),
    )


def _cpu_model() -> str:
    """As the kernel names it; elsewhere than on Linux, the architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(_CPU_MODEL)), platform.machine())
