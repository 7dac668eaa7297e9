"""What evaluations look back on: the last verdict, facts over time, and evidence that was kept."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

import msgspec
import zstandard

from adapters.postgres_pool import Pool
from domain.evaluation import Previous, Verdict
from domain.evidence import Document, FetchOutcome, Memory, Validators
from domain.fact import FactValue

_LAST_EVALUATION = """
select s.last_evaluation_id, e.status is not null and e.status in ('completed', 'failed')
from schedule s left join evaluations e on e.id = s.last_evaluation_id
where s.monitor_id = %s
"""

_LAST_VERDICT = """
select verdict, streak from evaluations
where monitor_id = %s and verdict in ('met', 'not_met') and plan_revision = %s
order by completed_at desc, id desc limit 1
"""

# The accepted values since a moment, and the one in force at it.
_SERIES = """
(select observed_at, value from facts
 where monitor_id = %(monitor_id)s and name = %(name)s and confidence >= %(confidence_min)s and observed_at < %(since)s
 order by observed_at desc limit 1)
union all
(select observed_at, value from facts
 where monitor_id = %(monitor_id)s and name = %(name)s and confidence >= %(confidence_min)s and observed_at >= %(since)s
 order by observed_at)
"""

_LAST_VALUE = """
select observed_at, value from facts
where monitor_id = %(monitor_id)s and name = %(name)s and confidence >= %(confidence_min)s
order by observed_at desc limit 1
"""

_MEMORY = """
select url, etag, last_modified, content_type, charset, evidence_hash from source_memory where monitor_id = %s
"""

_EVIDENCE = "select body, body_bytes from evidence where hash = %s"


class PostgresHistory:
    """Fulfils `workers.evaluator.History`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def previous(self, monitor_id: UUID, *, plan_revision: int) -> Previous | None:
        """What came before; None while the read tables do not show the last evaluation yet. Verdicts on an older plan do
        not count into the streak."""
        async with self._pool.connection() as connection:
            last = await (await connection.execute(_LAST_EVALUATION, (monitor_id,))).fetchone()
            if last is not None and last[0] is not None and not last[1]:
                return None
            verdict = await (await connection.execute(_LAST_VERDICT, (monitor_id, plan_revision))).fetchone()
        last_id = last[0] if last else None
        if verdict is None:
            return Previous(evaluation_id=last_id)
        return Previous(evaluation_id=last_id, verdict=Verdict(verdict[0]), streak=verdict[1])

    async def series(
        self, monitor_id: UUID, fact: str, *, since: datetime | None, confidence_min: float
    ) -> list[tuple[datetime, FactValue]]:
        """A fact's accepted values since a moment with the one in force at it, oldest first; None: the last one only."""
        values = {"monitor_id": monitor_id, "name": fact, "since": since, "confidence_min": confidence_min}
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_LAST_VALUE if since is None else _SERIES, values)).fetchall()
        return sorted((at, value) for at, value in rows)

    async def memory(self, monitor_id: UUID) -> Mapping[str, Memory]:
        """What is remembered of each source, by its url."""
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_MEMORY, (monitor_id,))).fetchall()
        return {
            url: Memory(Validators(etag=etag, last_modified=modified), content_type, charset, kept)
            for url, etag, modified, content_type, charset, kept in rows
        }

    async def evidence(self, answer: Document, memory: Memory) -> Document:
        """The kept content behind a 304 answer, as a document of outcome `not_modified`."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_EVIDENCE, (memory.evidence_hash,))).fetchone()
        if row is None:
            raise LookupError(f"evidence {memory.evidence_hash} is not kept any more")
        body, body_bytes = row
        return msgspec.structs.replace(
            answer,
            outcome=FetchOutcome.NOT_MODIFIED,
            content_type=memory.content_type,
            charset=memory.charset,
            body=zstandard.decompress(body, max_output_size=body_bytes),
            hash=memory.evidence_hash,
        )
