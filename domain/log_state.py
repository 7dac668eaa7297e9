"""How the log stands: what waits for its place in it, and who holds that up."""

import msgspec

LATE_SECONDS = 1.0
"""An event has its place within milliseconds; one that waits longer than this waits for something."""

RESTORED = "the store was restored into another cluster, or lost events"
REPAIR = "stop Vigil and run `vigil store repair`"
"""What `LogState.restored` means, and what to do."""


class LogState(msgspec.Struct, frozen=True, kw_only=True):
    """The end of the log, and what comes behind it.

    `waiting_events` have been appended and have no position yet (counted up to `WAITING_EVENTS_MAX`), the first of them
    for `waiting_seconds`. `held` says that a transaction which is still open may yet bring an event before it, so nobody
    may give it a position. `oldest_open` is the id of the oldest open transaction in the whole cluster. `restored`: the
    store comes from another cluster and no relay has found its log whole here, or events that had positions are gone.
    """

    position: int
    waiting_events: int
    waiting_seconds: float
    held: bool
    oldest_open: str | None
    restored: bool

    @property
    def late(self) -> bool:
        """Whether events wait longer than they should."""
        return self.waiting_seconds > LATE_SECONDS


WAITING_EVENTS_MAX = 10_000


class OpenTransaction(msgspec.Struct, frozen=True, kw_only=True):
    """A transaction that has an id and has not ended, anywhere in the cluster.

    It belongs to the server process `pid`, or it is prepared as `prepared_as` (two-phase commit) and belongs to none.
    What this role may not see is None. `query` is the beginning of its last statement, up to the first value in it.
    """

    id: str
    pid: int | None
    prepared_as: str | None
    database: str | None
    role: str | None
    application: str | None
    client: str | None
    state: str | None
    open_seconds: float | None
    query: str | None


class EventsLost(Exception):
    """Events that had positions are not in the log any more."""

    def __init__(self, head: int, seen: int) -> None:
        super().__init__(
            f"the log ends at position {head} or goes on otherwise, and it was at {seen}: events are lost, as when a standby"
            " is promoted that lacked the last commits. Nothing is sequenced until `vigil store repair` (docs/failover.md)"
        )
