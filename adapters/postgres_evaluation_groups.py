"""Evaluations that are recorded at the same time share a statement and a commit, as single events do
(`adapters.postgres_append_groups`). Each stays what it was alone: durable when it returns, refused on its own."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import psycopg

from adapters.gathered import Gathered
from adapters.postgres_append_groups import CommitUnknown
from adapters.postgres_appending import EXPECTED_VERSION_AHEAD, append_together
from adapters.postgres_evidence import keep_evidence
from adapters.postgres_pool import Pool
from commands.event_store import CloseEvaluation, Companion, KeepEvidence
from domain.crash_points import CrashPoint, reached

_RECORD = "select record_evaluations(%s::text::jsonb)"

Row = Mapping[str, Any]
Evaluated = tuple[Sequence[Row], CloseEvaluation, Sequence[KeepEvidence]]
"""The events of an evaluation as rows of the table event, and its companions."""

# What one evaluation may be, or wait for, and its whole group is refused for. Nothing of the group is recorded then.
_OF_ONE = (
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.LockNotAvailable,
)
# Of these PostgreSQL knows no class: psycopg raises them as no more than `DatabaseError`.
_LOST_RACES = (EXPECTED_VERSION_AHEAD, "VG004")

_encoder = msgspec.json.Encoder()


def as_evaluated(rows: Sequence[Row], companions: Sequence[Companion]) -> Evaluated | None:
    """The append as one of an evaluation; None when it is something else."""
    closes = [companion for companion in companions if isinstance(companion, CloseEvaluation)]
    kept = [companion for companion in companions if isinstance(companion, KeepEvidence)]
    return (rows, closes[0], kept) if len(closes) == 1 and len(closes) + len(kept) == len(companions) else None


class _NotTogether(Exception):
    """The group was refused, or may not be one: each is recorded alone."""


class EvaluationGroups:
    """Records evaluations, those that come while others are written together with each other."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._groups = Gathered(self._record)

    async def record(self, evaluated: Evaluated) -> None:
        """Record one; returns when it is durable. Raises `ConcurrentAppend` when somebody was faster, and `CommitUnknown`."""
        try:
            await self._groups.ask(evaluated)
        except _NotTogether:  # beside the others, and not one after the other: one of them may have to wait for a rival
            rows, close, kept = evaluated
            await append_together(self._pool, rows, [close, *kept])

    async def _record(self, group: Sequence[Evaluated]) -> Sequence[Exception | None]:
        if not _is_of_different_monitors(group):
            return [_NotTogether()] * len(group)
        try:
            await self._together(group)
        except psycopg.Error as error:
            if not isinstance(error, _OF_ONE) and error.sqlstate not in _LOST_RACES:
                raise
            return [_NotTogether()] * len(group)
        reached(CrashPoint.EVALUATOR_AFTER_GROUP)
        return [None] * len(group)

    async def _together(self, group: Sequence[Evaluated]) -> None:
        """Record all in one statement, which is a transaction of its own unless there is evidence to keep as well."""
        # In one order for everybody: two who keep the same two pages must not wait for each other.
        kept = sorted(
            (keep for _, _, evidence in group for keep in evidence), key=lambda keep: keep.document.hash or ""
        )
        async with self._pool.connection() as connection:
            try:
                if not kept:
                    await connection.execute(_RECORD, (_document(group),))
                    return
                async with connection.transaction():
                    await connection.execute(_RECORD, (_document(group),))
                    await keep_evidence(connection, kept)
            except psycopg.Error as error:
                if connection.broken:
                    raise CommitUnknown from error
                raise


def _is_of_different_monitors(group: Sequence[Evaluated]) -> bool:
    return len({close.monitor_id for _, close, _ in group}) == len(group)


def _document(group: Sequence[Evaluated]) -> str:
    return _encoder.encode(
        [
            {
                "monitor_id": close.monitor_id,
                "evaluation_id": close.evaluation_id,
                "previous_id": close.previous_id,
                "previous": close.leaves,
                "due_at": close.due_at,
                "next_due_at": close.next_due_at,
                "next_ready_at": close.next_ready_at,
                "events": [
                    (
                        row["stream_id"],
                        row["version"],
                        row["owner_id"],
                        row["type"],
                        row["type_version"],
                        msgspec.Raw(row["data"].encode()),
                        msgspec.Raw(row["metadata"].encode()),
                        row["event_id"],
                    )
                    for row in rows
                ],
            }
            for rows, close, _ in group
        ]
    ).decode()
