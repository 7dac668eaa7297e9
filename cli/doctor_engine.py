"""What `vigil doctor` looks at in the evaluation engine: whether what is due is handed out and done, and what was given up."""

import redis.asyncio as redis

from adapters.postgres_pool import open_pool
from adapters.postgres_status import EngineStatus, engine_status
from adapters.redis_jobs import RedisJobs
from bootstrap.settings import Settings
from cli.connection import CONNECT_SECONDS
from cli.findings import Finding, failed, graded, ok, warning
from read_api.health import SCHEDULER_SECONDS_MAX

TAKEN_SECONDS_MAX = 30.0
"""How long ago a job may have been taken last while others wait: a worker asks for more every half second."""
LATE_SECONDS_LOW = 60.0
"""An evaluation takes 30 s at most."""


async def examine_engine(database_url: str, redis_url: str | None, settings: Settings) -> list[Finding]:
    """The scheduler, the evaluators and what they gave up. Without Redis the evaluators are left out."""
    async with open_pool(database_url, size_max=1) as pool:
        engine = await engine_status(pool)
    findings = [_scheduler(engine)]
    if redis_url is not None:
        try:
            taken = await _taken_seconds_ago(redis_url, settings)
        except OSError:
            pass  # that Redis does not answer is told already
        else:
            findings.append(_evaluator(engine, taken))
    return [*findings, _given_up(engine)]


async def _taken_seconds_ago(redis_url: str, settings: Settings) -> float | None:
    client = redis.from_url(redis_url, socket_timeout=CONNECT_SECONDS, socket_connect_timeout=CONNECT_SECONDS)
    try:
        jobs = RedisJobs(client, namespace=settings.redis_namespace, consumer="doctor")
        return await jobs.taken_seconds_ago()
    finally:
        await client.aclose()


def _scheduler(engine: EngineStatus) -> Finding:
    """Whether somebody hands out what is due. That nobody ever did matters once something is due."""
    beat = engine.heartbeat_ages.get("scheduler")
    seen = "none was ever at work" if beat is None else f"last beat {beat:.0f} s ago"
    waits = f"{engine.ready} due monitors wait, the first for {engine.slip_seconds:.1f} s"
    message = f"{seen}; {waits if engine.ready else 'no due monitor waits'}"
    is_late = engine.slip_seconds > SCHEDULER_SECONDS_MAX
    if beat is not None and beat <= SCHEDULER_SECONDS_MAX:
        cure = "start another `vigil worker evaluator`: the queue is full"
        return warning("scheduler", message, cure) if is_late else ok("scheduler", message)
    is_missed = beat is not None or engine.ready > 0
    return graded("scheduler", message, "start `vigil up` or `vigil worker scheduler`", bad=is_late, low=is_missed)


def _evaluator(engine: EngineStatus, taken: float | None) -> Finding:
    """Whether somebody does what is handed out."""
    seen = "none ever took a job" if taken is None else f"a job was last asked for {taken:.0f} s ago"
    jobs = engine.handed_out + engine.asked
    message = f"{seen}; {jobs} jobs wait or are being done, the oldest is {engine.late_seconds:.0f} s late"
    if engine.late_seconds > TAKEN_SECONDS_MAX and (taken is None or taken > TAKEN_SECONDS_MAX):
        return failed("evaluator", message, "start `vigil up` or `vigil worker evaluator`")
    if engine.late_seconds > LATE_SECONDS_LOW:
        cure = "start another `vigil worker evaluator`, unless its log says that sources ask to be read later"
        return warning("evaluator", message, cure)
    return ok("evaluator", message if jobs else f"{seen}; no job waits")


def _given_up(engine: EngineStatus) -> Finding:
    if engine.dead:
        cure = "see why with `vigil evaluations dead list`, then retry or drop them"
        return warning("dead jobs", f"{engine.dead} evaluations were given up", cure)
    return ok("dead jobs", "no evaluation was given up")
