"""The live log: what happens, line by line, while `vigil up` or `vigil events tail` runs."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from uuid import UUID

from rich.console import Console
from rich.text import Text

from cli.event_lines import Known, render_event_line
from domain.evaluation import EvaluationCompleted, EvaluationFailed, FactExtracted
from domain.event import StreamEvent
from domain.fact import Fact
from domain.monitor import MonitorCreated, MonitorRenamed
from domain.notification import NotificationFailed, NotificationRequested, NotificationSent, NotificationSuppressed
from domain.personal_data import HIDDEN
from domain.trigger import TriggerCreated, TriggerRevised


@dataclass(frozen=True, slots=True)
class _Memory:
    """What was learned from the events shown so far; ended evaluations and notifications are forgotten."""

    monitors: dict[UUID, str] = field(default_factory=dict)
    triggers: dict[UUID, str] = field(default_factory=dict)
    requests: dict[UUID, NotificationRequested] = field(default_factory=dict)
    facts: dict[UUID, tuple[Fact, ...]] = field(default_factory=dict)


class LiveLog:
    """Prints events as they come.

    `names` are monitors and triggers known from before the first event, by id; the rest is learned from the events. What has
    no name, or a sealed one, is told by its id.
    `timezone` None is the local one. Facts are not printed by themselves: the line of their evaluation tells them.
    """

    def __init__(
        self, console: Console, names: Mapping[UUID, str] | None = None, *, timezone: tzinfo | None = None
    ) -> None:
        self._console = console
        self._timezone = timezone
        self._memory = _Memory(monitors=dict(names or {}), triggers=dict(names or {}))

    async def follow(self, events: AsyncIterator[StreamEvent]) -> None:
        """Show every event until there are no more."""
        async for stream_event in events:
            self.show(stream_event)

    def show(self, stream_event: StreamEvent) -> None:
        """Print the line of one event, or only remember it when a later line will tell it."""
        self._learn(stream_event)
        if not isinstance(stream_event.event, FactExtracted):
            memory = self._memory
            known = Known(memory.monitors, memory.triggers, memory.requests, memory.facts)
            self._print(render_event_line(stream_event, known, timezone=self._timezone))
        self._forget(stream_event)

    def _print(self, line: Text) -> None:
        encoding = self._console.encoding
        # Same length, so that the styles stay where they are.
        line.plain = line.plain.encode(encoding, "replace").decode(encoding)
        # On a terminal a line is cut at the edge; in a file or pipe it is whole.
        terminal = self._console.is_terminal
        self._console.print(
            line, no_wrap=terminal, overflow="ellipsis" if terminal else None, soft_wrap=not terminal, highlight=False
        )

    def _learn(self, stream_event: StreamEvent) -> None:
        subject, memory = stream_event.stream_id, self._memory
        match stream_event.event:
            case MonitorCreated(name=name) if name != HIDDEN:
                memory.monitors[subject] = name
            case TriggerCreated(name=name) | TriggerRevised(name=name) if name != HIDDEN:
                memory.triggers[subject] = name
            case NotificationRequested() as request:
                memory.requests[subject] = request
            case FactExtracted(fact=fact):
                memory.facts[subject] = (*memory.facts.get(subject, ()), fact)
            case _:
                pass

    def _forget(self, stream_event: StreamEvent) -> None:
        subject, memory = stream_event.stream_id, self._memory
        match stream_event.event:
            case MonitorRenamed(name=name) if name != HIDDEN:  # its own line still tells the old name
                memory.monitors[subject] = name
            case EvaluationCompleted() | EvaluationFailed():
                memory.facts.pop(subject, None)
            case NotificationSent() | NotificationFailed() | NotificationSuppressed():
                memory.requests.pop(subject, None)
            case _:
                pass
