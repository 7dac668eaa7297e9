"""A ledger whose sums hold a call as soon as it is recorded, for tests that look at the sums."""

from adapters.postgres_model_ledger import PostgresModelLedger
from commands.asking import PlannedCall, Reply
from domain.model_call import ModelCalled


class PatientLedger(PostgresModelLedger):
    async def record(self, call: PlannedCall, reply: Reply, *, duration_ms: int) -> ModelCalled:
        called = await super().record(call, reply, duration_ms=duration_ms)
        await self.settled()
        return called
