"""What `vigil evaluations dead` does: reading what was given up, and the audited acts on it."""

from collections.abc import Callable
from datetime import UTC
from uuid import UUID

import typer

from adapters.audited_acts import Record
from adapters.postgres_dead_jobs import DeadJob, PostgresDeadJobs
from adapters.postgres_pool import Pool
from bootstrap.now_and_new import utc_now
from bootstrap.settings import Settings
from cli.acts import record_act
from cli.connection import configured, open_database, run
from cli.event_lines import clean
from cli.output import WRONG_USE, fail, print_json
from domain.operation import EvaluationDropped, EvaluationRetried, OperationEvent

REASON_CHARS_MAX = 500
Act = Callable[[PostgresDeadJobs, UUID, Record[UUID]], object]


def run_list(*, as_json: bool) -> None:
    """Show what was given up."""
    found = run(_all(configured()))
    if as_json:
        print_json(found)
        return
    for job in found:
        typer.echo(_line(job))
    if not found:
        typer.echo("nothing was given up")


def run_retry(which: UUID | None, *, every: bool, as_json: bool) -> None:
    """Hand out once more. Raises `NotFound`."""
    _check(which, every=every)
    _tell(run(_retry(configured(), which)), "handed out again", as_json=as_json)


def run_drop(which: UUID | None, *, reason: str, every: bool, as_json: bool) -> None:
    """Forget. Raises `NotFound`."""
    _check(which, every=every)
    given = reason.strip()
    if not 1 <= len(given) <= REASON_CHARS_MAX or not given.isprintable():
        fail(f"a reason is 1 to {REASON_CHARS_MAX} printable characters", code=WRONG_USE)
    _tell(run(_drop(configured(), which, reason=given)), "dropped", as_json=as_json)


async def _all(settings: Settings) -> list[DeadJob]:
    async with open_database(settings) as pool:
        return await PostgresDeadJobs(pool).all()


async def _retry(settings: Settings, which: UUID | None) -> list[UUID]:
    async with open_database(settings) as pool:
        dead = PostgresDeadJobs(pool)
        chosen = await _chosen(dead, which)
        for evaluation_id in chosen:
            act = EvaluationRetried(evaluation_id=evaluation_id, retried_at=utc_now())
            await dead.retry(evaluation_id, record=_recording(pool, act))
    return chosen


async def _drop(settings: Settings, which: UUID | None, *, reason: str) -> list[UUID]:
    async with open_database(settings) as pool:
        dead = PostgresDeadJobs(pool)
        chosen = await _chosen(dead, which)
        for evaluation_id in chosen:
            act = EvaluationDropped(evaluation_id=evaluation_id, reason=reason, dropped_at=utc_now())
            await dead.drop(evaluation_id, record=_recording(pool, act))
    return chosen


async def _chosen(dead: PostgresDeadJobs, which: UUID | None) -> list[UUID]:
    return [job.evaluation_id for job in await dead.all()] if which is None else [which]


def _recording(pool: Pool, act: OperationEvent) -> Record[UUID]:
    async def record(_evaluation_id: UUID) -> None:
        await record_act(pool, act)

    return record


def _check(which: UUID | None, *, every: bool) -> None:
    if (which is None) != every:
        fail("say which evaluation by its id, or --all", code=WRONG_USE)


def _tell(done: list[UUID], what: str, *, as_json: bool) -> None:
    if as_json:
        print_json(done)
        return
    for evaluation_id in done:
        typer.echo(f"{evaluation_id}: {what}")
    if not done:
        typer.echo("nothing was given up")


def _line(job: DeadJob) -> str:
    signal = f", asked for by the signal {job.signal_id}" if job.signal_id else ""
    return (
        f"{job.evaluation_id} of monitor-{job.monitor_id}, due {job.due_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}{signal}, "
        f"tried {job.attempts} times: {clean(job.error)}"
    )
