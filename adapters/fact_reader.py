"""Reading all facts of a plan from one document: the port `commands.looking.FactReading`."""

from collections.abc import Sequence

import msgspec

from adapters.document_reader import DocumentReader
from domain.evidence import Document
from domain.fact import Fact, FactSpec, FactValue
from domain.source import Source

VALUE_CHARS_MAX = 50_000
"""Of a list's items together. Facts are kept for ever and travel through the log in batches; a hostile page must not make
one event of them that weighs megabytes."""


class FactReader:
    """Parses a document once, whatever the number of facts."""

    def read(self, facts: Sequence[FactSpec], source: Source, document: Document) -> dict[str, Fact]:
        """The facts that stand in the document, by name; what is not there is left out."""
        reader = DocumentReader(source, document)
        found = {spec.name: reader.read(spec) for spec in facts}
        return {name: _storable(fact) for name, fact in found.items() if fact is not None}


def _storable(fact: Fact) -> Fact:
    return msgspec.structs.replace(
        fact, value=_storable_value(fact.value), quote=_text(fact.quote), source_url=_text(fact.source_url)
    )


def _storable_value(value: FactValue) -> FactValue:
    match value:
        case str():
            return _text(value)
        case list():
            kept: list[str] = []
            room = VALUE_CHARS_MAX
            for item in value:
                room -= len(item)
                if room < 0:
                    break
                kept.append(_text(item))
            return kept
        case _:
            return value


def _text(text: str) -> str:
    """Without what PostgreSQL or UTF-8 cannot hold: NUL, and halves of surrogate pairs (JSON may spell both)."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")
