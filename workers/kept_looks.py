"""What of a look is kept as evidence."""

from collections.abc import Iterator
from uuid import UUID

from commands.event_store import KeepEvidence
from commands.look import Look
from domain.evidence import FetchOutcome
from domain.source import FeedSource, HttpSource, SearchSource, SignalSource


def evidence_of(monitor_id: UUID, look: Look) -> Iterator[KeepEvidence]:
    """What sources answered that others cannot be asked for again: signals are kept as such."""
    for (source, document), reading in zip(look.answers, look.readings, strict=True):
        if document.outcome is FetchOutcome.OK:
            match source:
                case HttpSource(url=url) | FeedSource(url=url):
                    yield KeepEvidence(monitor_id, url, document, reading)
                case SearchSource() if document.body:
                    yield KeepEvidence(monitor_id, document.url, document, None)
                case SearchSource() | SignalSource():
                    pass
