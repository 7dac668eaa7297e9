"""PDFs: their text as evidence, and every way in which there is none."""

import hashlib
import io
import zlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from aiohttp import web
from pypdf import PdfReader, PdfWriter

from adapters import pdf_text
from adapters.aiohttp_fetcher import AiohttpFetcher
from adapters.document_reader import read_fact
from adapters.network_guard import NetworkGuard
from adapters.pdf_fetcher import PdfFetcher
from domain.evidence import Document, FetchOutcome
from domain.fact import FactSpec, FactType, Select
from domain.source import HttpSource

AT = datetime(2026, 1, 1, tzinfo=UTC)


def a_pdf(*pages: str, content: bytes | None = None) -> bytes:
    """A PDF with these pages, or one whose only page has the content stream `content`, which is deflated."""
    streams = [page_stream(text) for text in pages] if content is None else [content]
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(streams)))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Kids[{kids}]/Count {len(streams)}>>".encode(),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    for i, stream in enumerate(streams):
        packed = zlib.compress(stream)
        objects.append(
            f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Resources<</Font<</F1 3 0 R>>>>/Contents {5 + 2 * i} 0 R>>".encode()
        )
        objects.append(b"<</Length %d/Filter/FlateDecode>>stream\n%s\nendstream" % (len(packed), packed))
    out, places = b"%PDF-1.4\n%\x00\x01\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj%s endobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    head = b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    tail = b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, len(out))
    return out + head + table + tail


def page_stream(text: str) -> bytes:
    lines = "".join(f"({line}) Tj T* " for line in text.split("\n"))
    return f"BT /F1 12 Tf 14 TL 50 750 Td {lines}ET".encode()


PRICES = a_pdf("Price list 2026\nDesk lamp LX-5: 49.90 EUR\nIn stock", "Second page")


class Shelf:
    """A server that answers every path with one file."""

    body: bytes = b""
    content_type: str = "application/pdf"
    url: str = ""

    async def answer(self, request: web.Request) -> web.Response:
        return web.Response(body=self.body, content_type=self.content_type, headers={"ETag": '"1"'})


@pytest.fixture
async def shelf() -> AsyncIterator[Shelf]:
    shelf = Shelf()
    application = web.Application()
    application.router.add_get("/{path:.*}", shelf.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    shelf.url = f"http://127.0.0.1:{runner.addresses[0][1]}/list.pdf"
    yield shelf
    await runner.cleanup()


async def fetched(shelf: Shelf, *, library: str = "pypdf", deadline_seconds: float = 30) -> Document:
    guard = NetworkGuard(["127.0.0.0/8"])
    fetcher = PdfFetcher(
        AiohttpFetcher(guard, now=lambda: AT, user_agent="test"), library=library, deadline_seconds=deadline_seconds
    )
    try:
        return await fetcher.fetch(HttpSource(url=shelf.url), None)
    finally:
        await fetcher.close()


async def test_a_pdf_is_read_as_its_text_which_is_the_evidence(shelf: Shelf) -> None:
    shelf.body = PRICES
    document = await fetched(shelf)
    text = "Price list 2026\nDesk lamp LX-5: 49.90 EUR\nIn stock\nSecond page"
    assert (document.outcome, document.status, document.body.decode()) == (FetchOutcome.OK, 200, text)
    assert (document.content_type, document.charset) == ("text/plain", "utf-8")
    assert document.hash == hashlib.sha256(text.encode()).hexdigest()
    assert document.validators.etag == '"1"'
    spec = FactSpec(name="price", type=FactType.NUMBER, select=Select(regex=r"LX-5: ([\d.]+)"))
    fact = read_fact(spec, HttpSource(url=shelf.url), document)
    assert fact is not None
    assert (fact.value, fact.quote) == (49.9, "49.90")


async def test_a_pdf_that_says_it_is_something_else_is_read_too(shelf: Shelf) -> None:
    shelf.body, shelf.content_type = PRICES, "application/octet-stream"
    assert (await fetched(shelf)).body.startswith(b"Price list")


async def test_without_the_extra_the_answer_says_what_to_install(shelf: Shelf) -> None:
    shelf.body = PRICES
    document = await fetched(shelf, library="a_library_nobody_has")
    assert document.outcome is FetchOutcome.WRONG_TYPE
    assert "pip install 'vigil[pdf]'" in (document.message or "")
    assert (document.body, document.hash) == (b"", None)


async def test_without_the_extra_pages_are_read_as_ever(shelf: Shelf) -> None:
    shelf.body, shelf.content_type = b"<p>Hello", "text/html"
    document = await fetched(shelf, library="a_library_nobody_has")
    assert (document.outcome, document.body) == (FetchOutcome.OK, b"<p>Hello")


def encrypted(data: bytes, password: str) -> bytes:
    writer, out = PdfWriter(clone_from=PdfReader(io.BytesIO(data))), io.BytesIO()
    writer.encrypt(password, owner_password="owner", algorithm="AES-256")
    writer.write(out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (encrypted(PRICES, "secret"), "password"),
        (b"%PDF-1.7 and then nothing", "cannot be read"),
        (PRICES[: len(PRICES) // 2], "cannot be read"),
        (b"<html>an error page</html>", "cannot be read"),
        (a_pdf(""), "holds no text"),
        (a_pdf(content=b" " * 90_000_000), "cannot be read"),
    ],
    ids=["password", "broken", "cut off", "no pdf", "pictures", "90 MB in 90 KB"],
)
async def test_a_pdf_without_text_to_read_is_of_the_wrong_type_and_says_why(
    shelf: Shelf, body: bytes, says: str
) -> None:
    shelf.body = body
    document = await fetched(shelf)
    assert document.outcome is FetchOutcome.WRONG_TYPE, document.body[:100]
    assert says in (document.message or "")
    assert document.body == b""


async def test_a_pdf_that_opens_without_a_password_is_read(shelf: Shelf) -> None:
    shelf.body = encrypted(PRICES, "")
    assert (await fetched(shelf)).body.startswith(b"Price list")


async def test_a_pdf_that_takes_too_long_is_slow_and_its_process_is_ended(shelf: Shelf) -> None:
    shelf.body = PRICES
    document = await fetched(shelf, deadline_seconds=0.001)
    assert document.outcome is FetchOutcome.SLOW
    assert document.body == b""


def test_of_a_long_pdf_the_first_pages_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf_text, "PAGES_MAX", 2)
    assert pdf_text.pdf_text(a_pdf("one", "two", "three")) == "one\ntwo"
    monkeypatch.setattr(pdf_text, "TEXT_CHARS_MAX", 5)
    assert pdf_text.pdf_text(a_pdf("one", "two", "three")) == "one\ntw"
