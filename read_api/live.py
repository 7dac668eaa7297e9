"""What happens to monitors, live: one look at the log for all who listen in this process, and each is told of its monitor.

A look goes from where a listener is to where the read tables are: what is told can be read, and what a listener missed
while it was away comes in the same way as what is new. A listener that has not taken what it was told is passed over
until it has, so nothing piles up for a slow one.
"""

import asyncio
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any
from uuid import UUID

import structlog
from psycopg.rows import DictRow

from domain.errors import NotFound
from domain.log_entry import partition_of
from projections.core import CORE
from read_api.database import Pool, fetch_row, fetch_rows
from read_api.evaluations import EvaluationViews
from read_api.listener import RETRY_MS, Ending, Listener, comment, message, reset
from read_api.monitors import MonitorViews

log = structlog.get_logger()

LOOK_SECONDS = 0.05
"""The rest between two looks while anybody listens."""
FAILURE_PAUSE_SECONDS = 1.0
STREAMS_MAX = 500
"""Of one process: half of the connections it takes."""
STREAMS_OF_PERSON_MAX = 10
REPLAY_PLACES_MAX = 20_000
"""A listener further behind than this in its partition of the log is sent to the history instead."""
LOOK_GROUPS_MAX = 32
LOOK_PLACES_MAX = 2000
LOOK_NEWS_MAX = 100
"""In one look: places to look from, places of the log from each, and news from each."""

_EVALUATED = ("evaluation.completed", "evaluation.failed")
_CHANGED, _DELETED, _ERASED = "monitor.state_changed", "monitor.deleted", "user.erased"

_START = """
select coalesce(max(c.position), 0) as reached, coalesce(max(h.partition_positions[%(partition)s + 1]), 0) as last
from log_head h left join checkpoint c on c.consumer = %(consumer)s and c.partition = %(partition)s
"""

# The inner limits keep the look short whatever the planner believes of the tables.
_NEWS = """
select w.partition, w.after, c.position as reached, found.*
from unnest(%(partitions)s::smallint[], %(afters)s::bigint[]) as w (partition, after)
join checkpoint c on c.consumer = %(consumer)s and c.partition = w.partition and c.position > w.after
left join lateral (
    select l.place, coalesce(v.monitor_id, l.stream_id) as subject_id, e.type, l.stream_id, e.event_id
    from (
        select partition_position as place, stream_id, version from event_log
        where partition = w.partition and partition_position > w.after and partition_position <= c.position
        order by partition_position limit %(places)s
    ) l
    left join evaluations v on v.id = l.stream_id
    join event e on e.stream_id = l.stream_id and e.version = l.version
    where coalesce(v.monitor_id, l.stream_id) = any(%(subjects)s)
      and (e.type = any(%(evaluated)s) or e.type like 'monitor.%%' or e.type = %(erased)s)
    order by l.place limit %(news)s
) found on true
order by w.partition, w.after, found.place
"""


class StreamsOfPersonExceeded(Exception):
    """The person has as many live streams open as one person may have."""


class StreamsExhausted(Exception):
    """This process has as many live streams open as it can, or is about to stop."""


class LiveMonitors:
    """Everybody who listens in this process, and the one task that looks for them while there is somebody."""

    def __init__(
        self,
        pool: Pool,
        *,
        now: Callable[[], datetime],
        streams_max: int = STREAMS_MAX,
        streams_of_person_max: int = STREAMS_OF_PERSON_MAX,
        replay_places_max: int = REPLAY_PLACES_MAX,
    ) -> None:
        self._pool = pool
        self._evaluations, self._monitors = EvaluationViews(pool), MonitorViews(pool)
        self._now = now
        self._streams_max, self._streams_of_person_max = streams_max, streams_of_person_max
        self._replay_places_max = replay_places_max
        self._listeners: set[Listener] = set()
        self._looking: asyncio.Task[None] | None = None
        self._ended = False

    async def listen(
        self, owner_id: UUID, monitor_id: UUID, *, since: int | None, expires_at: datetime | None
    ) -> tuple[Listener, bytes]:
        """Somebody who listens from now on, or from the place `since` in their partition, until `expires_at`; and the
        first message. Whoever gets it has to `leave` in the end.

        Raises `NotFound` for a monitor that is not the person's, `StreamsOfPersonExceeded`, `StreamsExhausted`.
        """
        partition = partition_of(owner_id)
        start = await fetch_row(self._pool, _START, {"consumer": CORE.name, "partition": partition}) or {}
        # The monitor is read after the place: what changes in between is told again, and nothing is left out.
        monitor = await self._monitors.find(owner_id, monitor_id)
        if monitor is None:
            raise NotFound
        if since is None:
            after, first = start["reached"], message("monitor", monitor, partition, start["reached"], retry=RETRY_MS)
        elif since > start["last"]:  # the log was replaced by an older copy of it
            after, first = start["reached"], reset(monitor_id, partition, start["reached"])
        else:
            after, first = since, comment("resumed")
        seconds = math.inf if expires_at is None else (expires_at - self._now()).total_seconds()
        listener = Listener(owner_id, monitor_id, after, until=asyncio.get_running_loop().time() + seconds)
        self._admit(listener)
        return listener, first

    def _admit(self, listener: Listener) -> None:
        if self._ended or len(self._listeners) >= self._streams_max:
            raise StreamsExhausted
        if Counter(each.owner_id for each in self._listeners)[listener.owner_id] >= self._streams_of_person_max:
            raise StreamsOfPersonExceeded
        self._listeners.add(listener)
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_for_all(), name="live monitors")

    def leave(self, listener: Listener) -> None:
        """The listener is gone."""
        self._listeners.discard(listener)

    def end(self) -> None:
        """Let every stream end now, and take no more."""
        self._ended = True
        for listener in self._listeners:
            listener.end(Ending.SHUTDOWN)

    async def _look_for_all(self) -> None:
        while self._listeners and not self._ended:
            try:
                rest = 0.0 if await self._look() else LOOK_SECONDS
            except Exception as error:  # noqa: BLE001  whatever it was: they are told when it is over
                log.warning("live streams wait: the log cannot be read", error=repr(error))
                rest = FAILURE_PAUSE_SECONDS
            await asyncio.sleep(rest)
        self._looking = None

    async def _look(self) -> bool:
        """Tell everybody who takes it what is new for them; whether there is more already."""
        groups: dict[tuple[int, int], list[Listener]] = defaultdict(list)
        for listener in self._listeners:
            if listener.takes:
                groups[listener.partition, listener.after].append(listener)
        if not groups:
            return False
        # Those who are up to date are together at one place of each partition; after a restart everybody else is alone.
        chosen = dict(sorted(groups.items(), key=lambda group: -len(group[1]))[:LOOK_GROUPS_MAX])
        found = await fetch_rows(self._pool, _NEWS, _what_to_look_for(chosen))
        heard = {place: {listener.monitor_id for listener in group} for place, group in chosen.items()}
        shapes = await self._shapes(
            [row for row in found if row["subject_id"] in heard[row["partition"], row["after"]]]
        )
        more = len(chosen) < len(groups)
        for (partition, after), rows in groupby(found, key=lambda row: (row["partition"], row["after"])):
            news = list(rows)
            reached = news[0]["reached"]
            if reached - after > self._replay_places_max:
                for listener in groups[partition, after]:
                    listener.tell([reset(listener.monitor_id, partition, reached)], after=reached)
                continue
            told = news[-1]["place"] if len(news) == LOOK_NEWS_MAX else min(reached, after + LOOK_PLACES_MAX)
            more = more or told < reached
            _tell(groups[partition, after], [row for row in news if row["place"]], shapes, told)
        return more

    async def _shapes(self, found: Sequence[DictRow]) -> Mapping[UUID, object]:
        """What the read tables show of the evaluations, changes and monitors in the news, by their ids."""
        evaluations = {row["stream_id"] for row in found if row["type"] in _EVALUATED}
        changes = {row["event_id"] for row in found if row["type"] == _CHANGED}
        monitors = {row["stream_id"] for row in found if _is_of_monitor(row)}
        shapes: dict[UUID, object] = {}
        if evaluations:
            shapes |= {shape.id: shape for shape in await self._evaluations.these(evaluations)}
        if changes:
            shapes |= {shape.id: shape for shape in await self._monitors.these_changes(changes)}
        if monitors:
            shapes |= {shape.id: shape for shape in await self._monitors.these(monitors)}
        return shapes


def _what_to_look_for(groups: Mapping[tuple[int, int], Iterable[Listener]]) -> dict[str, Any]:
    listeners = [listener for group in groups.values() for listener in group]
    subjects = {listener.monitor_id for listener in listeners} | {listener.owner_id for listener in listeners}
    return {
        "consumer": CORE.name,
        "partitions": [partition for partition, _ in groups],
        "afters": [after for _, after in groups],
        "subjects": list(subjects),
        "evaluated": list(_EVALUATED),
        "erased": _ERASED,
        "places": LOOK_PLACES_MAX,
        "news": LOOK_NEWS_MAX,
    }


def _tell(listeners: Iterable[Listener], news: Sequence[DictRow], shapes: Mapping[UUID, object], told: int) -> None:
    """Tell listeners who are at the same place the news of their monitors, each encoded once for all who listen to it."""
    about: dict[UUID, list[DictRow]] = defaultdict(list)
    for row in news:
        about[row["subject_id"]].append(row)
    batches = {subject: _batch(rows, shapes) for subject, rows in about.items()}
    for listener in listeners:
        listener.tell(batches.get(listener.monitor_id, ()), after=told)
        if listener.owner_id in about:
            listener.end(Ending.ERASED)
        elif any(row["type"] == _DELETED for row in about[listener.monitor_id]):
            listener.end(Ending.DELETED)


def _batch(rows: Sequence[DictRow], shapes: Mapping[UUID, object]) -> list[bytes]:
    """The messages for the news of one monitor. It is shown as it is now, so of several changes of its own only the last
    is told; what the read tables do not show is passed over."""
    last_of_monitor = max((row["place"] for row in rows if _is_of_monitor(row)), default=0)
    batch = []
    for row in rows:
        if row["type"] in _EVALUATED:
            kind, shape = "evaluation", shapes.get(row["stream_id"])
        elif row["type"] == _CHANGED:
            kind, shape = "change", shapes.get(row["event_id"])
        else:
            kind, shape = "monitor", shapes.get(row["stream_id"]) if row["place"] == last_of_monitor else None
        if shape is not None:
            batch.append(message(kind, shape, row["partition"], row["place"]))
    return batch


def _is_of_monitor(row: DictRow) -> bool:
    return row["type"] is not None and row["type"].startswith("monitor.") and row["type"] != _CHANGED
