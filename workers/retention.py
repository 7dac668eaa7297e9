"""Retention: lets go of what sources answered long ago, where the operator set a limit, and of answers of models that nobody
has used for a month. Facts, quotes and hashes stay."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from workers.lifecycle import Leases, Stop, run_steps

log = structlog.get_logger()

LEASE = "retention"
LEASE_LIFETIME = timedelta(minutes=15)
REST_SECONDS = 300.0
BATCH_CONTENTS_MAX = 200
"""So many at a time: a content has up to 5 MB, and nobody waits for this."""
GRACE = timedelta(days=1)
"""When a content was read last, or an answer used, is known to about a day; nothing goes before its time."""
ANSWERS_KEPT = timedelta(days=30)
"""After it was used last."""
BATCH_ANSWERS_MAX = 10_000


class KeptAnswers(Protocol):
    """What models answered."""

    async def forget(self, *, unused_since: datetime, limit: int) -> int:
        """Forget up to `limit` answers that nobody has used since then; how many these were."""
        ...


class KeptContents(Protocol):
    """What sources answered."""

    async def let_go(self, *, unread_since: datetime, at: datetime, limit: int) -> int:
        """Let go of up to `limit` contents that no source has had since then, nor has now; how many these were."""
        ...


class Retention:
    """One of any number: the one with the lease works, the others stand by. `keep` None: contents stay for ever."""

    def __init__(
        self,
        contents: KeptContents,
        leases: Leases,
        *,
        answers: KeptAnswers | None = None,
        keep: timedelta | None,
        holder: str,
        now: Callable[[], datetime],
    ) -> None:
        self._contents = contents
        self._leases = leases
        self._answers = answers
        self._keep = keep
        self._holder = holder
        self._now = now

    async def run(self, stop: Stop) -> None:
        """Let go until asked to stop, then give the lease back."""
        await run_steps("retention", self.step, stop)
        await self._leases.let_go([LEASE], self._holder)

    async def step(self) -> float:
        """Let go of one batch; how many seconds to rest."""
        if self._keep is None and self._answers is None:
            return REST_SECONDS
        if LEASE not in await self._leases.hold([LEASE], self._holder, lifetime=LEASE_LIFETIME):
            return REST_SECONDS
        is_more = [await self._forget_answers(), await self._let_go_of_contents()]
        return 0.0 if any(is_more) else REST_SECONDS

    async def _forget_answers(self) -> bool:
        """Whether there may be more to forget."""
        if self._answers is None:
            return False
        unused_since = self._now() - ANSWERS_KEPT - GRACE
        count = await self._answers.forget(unused_since=unused_since, limit=BATCH_ANSWERS_MAX)
        return count == BATCH_ANSWERS_MAX

    async def _let_go_of_contents(self) -> bool:
        """Whether there may be more to let go."""
        if self._keep is None:
            return False
        now = self._now()
        count = await self._contents.let_go(unread_since=now - self._keep - GRACE, at=now, limit=BATCH_CONTENTS_MAX)
        if count:
            log.info("contents of sources were let go by policy", contents=count, keep_days=self._keep.days)
        return count == BATCH_CONTENTS_MAX
