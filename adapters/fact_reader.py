"""Reading all facts of a plan from one document: the port `commands.answer_reading.FactReading`."""

from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import msgspec

from adapters.document_reader import DocumentReader
from domain.evidence import Document
from domain.fact import Fact, FactSpec, FactValue
from domain.source import Source

READING = (
    "bounded_jsonpath",
    "bounded_regex",
    "document_reader",
    "document_text",
    "fact_conversion",
    "fact_quote",
    "fact_reader",
    "fact_selection",
    "feed_reader",
    "main_text",
    "markup_budget",
    "named_value",
    "parsed_document",
    "product_data",
    "selection_cost",
)
"""The modules that decide what is read."""
_LIBRARIES = ("google-re2", "jsonpath-rfc9535", "lxml", "selectolax", "trafilatura")

VALUE_CHARS_MAX = 50_000
"""Of a list's items together. Facts are kept for ever and travel through the log in batches; a hostile page must not make
one event of them that weighs megabytes."""


class FactReader:
    """Parses a document once, whatever the number of facts."""

    @property
    def edition(self) -> str:
        """Another one whenever the same bytes may be read otherwise: the program's own text, and its libraries, tell."""
        return _edition()

    def read(self, facts: Sequence[FactSpec], source: Source, document: Document) -> dict[str, Fact]:
        """The facts that stand in the document, by name; what is not there is left out."""
        reader = DocumentReader(source, document)
        found = {spec.name: reader.read(spec) for spec in facts}
        return {name: _storable(fact) for name, fact in found.items() if fact is not None}


@cache
def _edition() -> str:
    told = sha256()
    for module in READING:
        told.update(Path(__file__).with_name(f"{module}.py").read_bytes())
    for library in _LIBRARIES:
        told.update(f"{library} {version(library)}\n".encode())
    return told.hexdigest()[:16]


def _storable(fact: Fact) -> Fact:
    value = _storable_value(fact.value)
    return msgspec.structs.replace(
        fact,
        value=value,
        quote=_text(fact.quote),
        source_url=_text(fact.source_url),
        keys=fact.keys[: len(value)] if fact.keys is not None and isinstance(value, list) else None,
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
