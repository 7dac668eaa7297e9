"""Reading all facts of a plan from one document: the port `workers.evaluator.FactReading`."""

from collections.abc import Sequence

from adapters.document_reader import DocumentReader
from domain.evidence import Document
from domain.fact import Fact, FactSpec
from domain.source import Source


class FactReader:
    """Parses a document once, whatever the number of facts."""

    def read(self, facts: Sequence[FactSpec], source: Source, document: Document) -> dict[str, Fact]:
        """The facts that stand in the document, by name; what is not there is left out."""
        reader = DocumentReader(source, document)
        found = {spec.name: reader.read(spec) for spec in facts}
        return {name: fact for name, fact in found.items() if fact is not None}
