"""Monitors as they were at a version: a stream's state at a version never changes, so it need not be loaded twice."""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from commands.event_store import EventStore
from commands.monitors import MONITOR
from commands.streams import Loaded, load
from domain.monitor import Monitor, MonitorEvent

KNOWN_MAX = 40_000
"""Encoded, a monitor takes about 1 KB; as structs it would be 4."""

_Known = tuple[int, UUID | None, bytes]

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Monitor)


class KnownMonitors:
    """Loads monitors, and remembers as many as there is room for. Slots come round and round, so whoever is known stays: of
    more than there is room for, those used last would all be gone when their turn comes."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._known: dict[UUID, _Known] = {}

    async def at_least(self, monitor_id: UUID, version: int) -> Loaded[Monitor]:
        """The monitor at this version or a later one."""
        known = self._known.get(monitor_id)
        if known is not None and known[0] >= version:
            return Loaded(_decoder.decode(known[2]), known[0], known[1])
        found = await load(self._store, MONITOR, monitor_id)
        self._remember(monitor_id, found)
        return found

    def went_on(self, monitor_id: UUID, before: Loaded[Monitor], events: Sequence[MonitorEvent]) -> None:
        """These events follow now on what was known."""
        if events:
            after = MONITOR.fold(events, before.state)
            self._remember(monitor_id, Loaded(after, before.version + len(events), before.owner_id))

    def forget(self, monitor_id: UUID) -> None:
        """The monitor's person was erased."""
        self._known.pop(monitor_id, None)

    def _remember(self, monitor_id: UUID, monitor: Loaded[Monitor]) -> None:
        if monitor_id not in self._known and len(self._known) >= KNOWN_MAX:
            self._known.popitem()
        self._known[monitor_id] = (monitor.version, monitor.owner_id, _encoder.encode(monitor.state))
