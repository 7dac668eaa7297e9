"""What a projection is: for each event type, the SQL that brings a whole batch of such events into the read tables.

Every statement reads the relation `batch (place, stream_id, version, owner_id, type, data, event_id, recorded_at)`,
which holds events of its types, and names read tables without a schema: a rebuild runs the same SQL in another one.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import LiteralString, Protocol, TypeVar
from uuid import UUID


class CannotApply(Exception):
    """The read tables refuse an entry of the batch: a defect of a projection, or of what was allowed into an event."""


@dataclass(frozen=True, slots=True)
class On:
    """The statements for an event type, run in order.

    `rank` orders types within a run: what others refer to comes first. `repeatable` says that it only inserts, and nothing
    that the other events of its stream change: several of a stream may be handled by one statement, wherever its rank puts
    them. `alone` says that it changes what other streams made, so that it must not be handled in a run with any other event.
    """

    type: str
    rank: int
    statements: tuple[LiteralString, ...]
    repeatable: bool = False
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Projection:
    """Read tables that change together. `version` grows when its SQL does, which asks for a rebuild."""

    name: str
    version: int
    handlers: tuple[On, ...]

    def by_type(self) -> dict[str, On]:
        """The handler of each event type; raises `ValueError` when a type has two."""
        found: dict[str, On] = {}
        for handler in self.handlers:
            if handler.type in found:
                raise ValueError(f"projection {self.name} handles {handler.type} twice")
            found[handler.type] = handler
        return found

    def fingerprint(self) -> str:
        """What tells tables made by this SQL from tables made by any other: sha256, in hexadecimal."""
        made_by = [(each.type, each.rank, each.repeatable, each.alone, each.statements) for each in self.handlers]
        return hashlib.sha256(repr(made_by).encode()).hexdigest()


class Typed(Protocol):
    """Anything with a type and a stream: an entry of the log."""

    @property
    def type(self) -> str:
        """Its event type."""
        ...

    @property
    def stream_id(self) -> UUID:
        """Its stream."""
        ...


T = TypeVar("T", bound=Typed)


def split_into_runs(entries: Iterable[T], handler_of: Callable[[str], On | None]) -> Iterator[list[T]]:
    """Cut a batch where handling it type by type would break the order within a stream.

    Within a run every stream's events have growing ranks, the repeatable ones aside, so running the types in the order of
    their ranks gives the same tables as handling the events one by one; a property test holds that.
    """
    run: list[T] = []
    reached: dict[UUID, On] = {}
    for entry in entries:
        handler = handler_of(entry.type)
        if handler is None:
            continue
        before = reached.get(entry.stream_id)
        follows = handler.repeatable or before is None or handler.rank > before.rank
        if run and (handler.alone or not follows):
            yield run
            run, reached = [], {}
        run.append(entry)
        if not handler.repeatable:
            reached[entry.stream_id] = handler
        if handler.alone:
            yield run
            run, reached = [], {}
    if run:
        yield run


def group_by_rank(run: Sequence[T], handler_of: Callable[[str], On | None]) -> list[tuple[On, list[T]]]:
    """The entries of a run with their handlers, in the order of the ranks."""
    groups: dict[str, tuple[On, list[T]]] = {}
    for entry in run:
        handler = handler_of(entry.type)
        if handler is not None:
            groups.setdefault(entry.type, (handler, []))[1].append(entry)
    return sorted(groups.values(), key=lambda group: group[0].rank)
