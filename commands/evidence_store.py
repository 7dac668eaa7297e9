"""The port to the contents that evaluations were made of, each once under its hash."""

from datetime import datetime
from typing import Protocol

from domain.evidence import Content, Document, LetGo


class EvidenceStore(Protocol):
    """Contents by the SHA-256 of their bytes (hex).

    PostgreSQL keeps them now, in the transaction of the evaluation (`KeepEvidence`). A store outside of it must have a
    content before the evaluation that refers to it is appended; one that nothing refers to does no harm.
    """

    async def put(self, document: Document) -> None:
        """Keep the content of a document that was read. What is kept already stays as it is; what was let go is kept anew."""
        ...

    async def get(self, content_hash: str) -> Content | LetGo | None:
        """What is kept under a hash; None when it never was."""
        ...

    async def forget(self, content_hash: str, *, at: datetime) -> None:
        """Let go of a content, and remember until when it was there."""
        ...
