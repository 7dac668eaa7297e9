"""A fetcher that makes text of PDFs: what is kept as evidence, read and quoted is the text."""

import asyncio
import hashlib
import sys
from importlib.util import find_spec
from typing import Protocol

import msgspec

from adapters import pdf_text
from domain.evidence import Document, FetchOutcome, Validators
from domain.source import WebSource

TOGETHER_MAX = 2
DEADLINE_SECONDS = 20.0
"""Above the processor seconds that the reading process allows itself, for a machine that is busy."""

_INSTALL = (
    "The answer is a PDF, and PDFs are read by an extra that is not installed here: pip install 'vigil[pdf]' where the"
    " evaluators run, and start them again."
)
_SLOW = "The PDF takes too long to read; name a smaller one, or the page that links to it."
_ENCRYPTED = "The PDF needs a password."
_UNREADABLE = "The answer says it is a PDF and cannot be read as one."
_PICTURES = "The PDF holds no text, as scanned pages do."


class ClosableFetcher(Protocol):
    """What answers first."""

    async def fetch(self, source: WebSource, known: Validators | None) -> Document:
        """One answer of a source."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class PdfFetcher:
    """Passes on what another fetcher answers, PDFs as plain text.

    Each PDF is read by a process of its own with limits on time and memory, two at a time. `library` is the name under which
    the extra is looked for.
    """

    def __init__(
        self, fetcher: ClosableFetcher, *, library: str = "pypdf", deadline_seconds: float = DEADLINE_SECONDS
    ) -> None:
        self._fetcher = fetcher
        self._is_installed = find_spec(library) is not None
        self._deadline_seconds = deadline_seconds
        self._places = asyncio.Semaphore(TOGETHER_MAX)

    async def fetch(self, source: WebSource, known: Validators | None) -> Document:
        """What the source answers; of a PDF its text, or the outcome `wrong_type` or `slow` with the reason."""
        document = await self._fetcher.fetch(source, known)
        if document.outcome is not FetchOutcome.OK or not is_pdf(document):
            return document
        if not self._is_installed:
            return _without_body(document, FetchOutcome.WRONG_TYPE, _INSTALL)
        async with self._places:
            try:
                code, text = await asyncio.wait_for(_read(document.body), self._deadline_seconds)
            except TimeoutError:
                return _without_body(document, FetchOutcome.SLOW, _SLOW)
        match code:
            case 0 if text:
                return _as_text(document, text)
            case 0:
                return _without_body(document, FetchOutcome.WRONG_TYPE, _PICTURES)
            case pdf_text.ENCRYPTED:
                return _without_body(document, FetchOutcome.WRONG_TYPE, _ENCRYPTED)
            case pdf_text.UNREADABLE:
                return _without_body(document, FetchOutcome.WRONG_TYPE, _UNREADABLE)
            case _:  # the system ended it at one of its limits
                return _without_body(document, FetchOutcome.SLOW, _SLOW)

    async def close(self) -> None:
        """Close the fetcher behind this one."""
        await self._fetcher.close()


def is_pdf(document: Document) -> bool:
    """Whether a document says it is a PDF, or is one and says it is anything."""
    return document.content_type == "application/pdf" or document.body.startswith(b"%PDF-")


async def _read(body: bytes) -> tuple[int | None, bytes]:
    """The exit code and the output of the reading process, which sees no environment and no file of ours."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        pdf_text.__file__,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={},
        cwd="/",
    )
    try:
        output, _ = await process.communicate(body)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, output


def _as_text(document: Document, text: bytes) -> Document:
    return msgspec.structs.replace(
        document, content_type="text/plain", charset="utf-8", body=text, hash=hashlib.sha256(text).hexdigest()
    )


def _without_body(document: Document, outcome: FetchOutcome, message: str) -> Document:
    return msgspec.structs.replace(document, outcome=outcome, message=message, body=b"", hash=None)
