"""Reading facts with models: asked once for all that stands in a text, and never again for the same."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
import pytest

from commands import model_reading
from commands.asking import Inquiry, Reply
from commands.fact_inquiry import FACTS_MAX
from commands.model_reading import IN_PLACE_BYTES_MAX, ModelRead, ModelReading
from commands.single_flight import SingleFlight
from domain.evidence import Document, FetchOutcome
from domain.fact import Fact, FactSpec, Select
from domain.model_call import CallOutcome, OnBehalf, Task, TokenUsage
from domain.source import HttpSource, Source
from tests.commands.model_world import (
    ADA,
    BOB,
    CALL_MICROS,
    IN_STOCK,
    PRICE,
    SHOP,
    URL,
    WANTED,
    AnswersInMemory,
    Books,
    document,
    reading,
    spec,
)
from tests.commands.obedient import Obedient

PAGE = "<h1>Kettle K2</h1><p id=price>49 EUR</p><p id=stock>In stock</p><p>red, blue</p>"


@dataclass
class Slow:
    """A model that answers when it is let."""

    obedient: Obedient = field(default_factory=Obedient)
    replies: Sequence[Reply] = ()
    name: str = "obedient"
    model: str = "obedient-1"
    asked: int = 0
    let: asyncio.Event = field(default_factory=asyncio.Event)

    async def call(self, inquiry: Inquiry, *, seconds: float) -> Reply:
        self.asked += 1
        await self.let.wait()
        if self.replies:
            return self.replies[min(self.asked, len(self.replies)) - 1]
        return await self.obedient.call(inquiry, seconds=seconds)


@dataclass
class Failing:
    """A model that fails, always in the same way."""

    outcome: CallOutcome
    name: str = "claude"
    model: str = "m-1"

    async def call(self, inquiry: Inquiry, *, seconds: float) -> Reply:
        return Reply(outcome=self.outcome, usage=TokenUsage(input_tokens=1))


RIGHT_PRICE = '{"price": {"quote": "49 EUR", "value": 49, "confidence": 0.9}}'


@dataclass
class Erring:
    """A model that says one thing after the other."""

    texts: list[str]
    name: str = "claude"
    model: str = "m-1"

    async def call(self, inquiry: Inquiry, *, seconds: float) -> Reply:
        return Reply(outcome=CallOutcome.OK, text=self.texts.pop(0), usage=TokenUsage(input_tokens=1))


async def read(
    reading: ModelReading,
    specs: Sequence[FactSpec] = WANTED,
    of: Document | None = None,
    *,
    source: Source = SHOP,
    on_behalf: OnBehalf = ADA,
    prefer: str | None = None,
    until: float | None = None,
) -> ModelRead:
    of = of or document(PAGE)
    return await reading.read(specs, source, of, on_behalf=on_behalf, prefer=prefer, until=until)


async def gone_on() -> None:
    """Let everything that can go on do so."""
    for _ in range(10):
        await asyncio.sleep(0)


def started(*work: Coroutine[Any, Any, Any]) -> list[asyncio.Task[Any]]:
    return [asyncio.create_task(one) for one in work]


async def test_all_facts_of_a_document_are_read_in_one_call() -> None:
    model = Obedient()
    result = await read(reading(model))
    assert {name: fact.value for name, fact in result.facts.items()} == {
        "price": 49.0,
        "in_stock": True,
        "name": "Kettle K2",
        "colours": ["red", "blue"],
    }
    assert [inquiry.task for inquiry in model.seen] == [Task.EXTRACT]
    assert (result.failure, result.provider, result.model) == (None, "obedient", "obedient-1")
    assert (result.cost_micros, result.saved_micros) == (CALL_MICROS, 0)


async def test_what_is_selected_otherwise_is_asked_otherwise() -> None:
    model = Obedient()
    price = msgspec.structs.replace(PRICE, select=Select(css="#price"))
    source = HttpSource(url=URL, select=Select(css="#stock"))
    result = await read(reading(model), (price, IN_STOCK), source=source)
    assert {name: fact.value for name, fact in result.facts.items()} == {"price": 49.0, "in_stock": True}
    assert sorted(inquiry.content.split("\n")[-2] for inquiry in model.seen) == ["49 EUR", "In stock"]
    assert {inquiry.task for inquiry in model.seen} == {Task.EXTRACT, Task.EVALUATE}
    assert (result.cost_micros, result.answered) == (2 * CALL_MICROS, 2)
    price = msgspec.structs.replace(PRICE, select=Select(css="#not-there"))
    assert (await read(reading(model), (price, IN_STOCK), source=source)).answered == 1, (
        "nothing is asked about no text"
    )


async def test_no_more_facts_are_asked_for_at_once_than_a_provider_takes() -> None:
    model = Failing(CallOutcome.REFUSED)
    books = Books()
    specs = [spec(f"n{n}", "number", "a number") for n in range(FACTS_MAX + 3)]
    await read(reading(model, books=books), specs)
    asked = [list(call.inquiry.schema["properties"]) for call, _ in books.recorded]
    assert sorted(map(len, asked)) == [3, FACTS_MAX]
    assert sorted(name for names in asked for name in names) == sorted(one.name for one in specs)


@pytest.mark.parametrize(
    "of",
    [
        document(""),
        document("<p hidden>49 EUR</p>"),
        msgspec.structs.replace(document(PAGE), outcome=FetchOutcome.BLOCKED),
    ],
)
async def test_where_nothing_is_to_be_seen_nobody_is_asked(of: Document) -> None:
    model = Obedient()
    assert await read(reading(model), of=of) == ModelRead(facts={})
    assert model.seen == []


async def test_what_was_asked_before_costs_nothing_whoever_asks_and_of_whichever_page() -> None:
    model, answers = Obedient(), AnswersInMemory()
    first = await read(reading(model, answers=answers))
    elsewhere = msgspec.structs.replace(document(PAGE + "<!-- new -->"), url="http://mirror.example/")
    again = await read(reading(Failing(CallOutcome.AUTH), answers=answers), of=elsewhere, on_behalf=BOB)
    assert len(model.seen) == 1
    assert (again.cost_micros, again.saved_micros, again.failure) == (0, CALL_MICROS, None)
    assert (again.provider, again.model, again.answered) == ("obedient", "obedient-1", 1)
    assert again.facts == {
        name: msgspec.structs.replace(fact, source_url=elsewhere.url, evidence_hash=elsewhere.hash or "")
        for name, fact in first.facts.items()
    }


@pytest.mark.parametrize(
    ("specs", "text"),
    [
        ((PRICE, IN_STOCK), PAGE),
        ([msgspec.structs.replace(one, description="now") for one in WANTED], PAGE),
        (WANTED, PAGE + "<p>49 USD</p>"),
    ],
)
async def test_anything_else_is_asked_anew(specs: Sequence[FactSpec], text: str) -> None:
    model, answers = Obedient(), AnswersInMemory()
    await read(reading(model, answers=answers))
    result = await read(reading(model, answers=answers), specs, document(text))
    assert len(model.seen) == 2
    assert result.saved_micros == 0


@pytest.mark.parametrize("outcome", [one for one in CallOutcome if one is not CallOutcome.OK])
async def test_a_failure_is_told_in_words_and_never_kept(outcome: CallOutcome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("commands.asking.PAUSE_SECONDS", 0.0)
    answers, is_spent = AnswersInMemory(), outcome is CallOutcome.BUDGET_EXCEEDED
    books = Books(spent=frozenset({ADA.owner_id} if is_spent else ()))
    result = await read(reading(Failing(outcome), books=books, answers=answers))
    assert result.facts == {}
    assert result.failure is not None
    assert result.failure.startswith("nobody read the facts: " if is_spent else "claude read nothing: ")
    assert answers.kept == {}
    assert result.cost_micros == CALL_MICROS * len(books.recorded)
    assert result.is_in_vain == (outcome in {CallOutcome.TRUNCATED, CallOutcome.REFUSED, CallOutcome.MALFORMED})


async def test_what_quotes_words_that_are_not_there_is_told_and_never_kept() -> None:
    model = Erring(['{"price": {"quote": "48 EUR", "value": 48, "confidence": 0.9}}', RIGHT_PRICE])
    read_once = reading(model)
    first = await read(read_once, (PRICE,))
    assert first.facts["price"].confidence == 0
    assert first.failure == "what claude quotes for price does not stand in the evidence, or says something else"
    assert (first.is_in_vain, first.cost_micros) == (True, CALL_MICROS)
    second = await read(read_once, (PRICE,))
    assert (second.failure, second.facts["price"].value, second.cost_micros) == (None, 49.0, CALL_MICROS)
    assert (await read(read_once, (PRICE,))).cost_micros == 0


async def test_where_no_provider_is_set_up_that_is_told() -> None:
    assert (await read(reading())).failure == model_reading.NOBODY


async def test_the_provider_that_is_preferred_is_asked_first() -> None:
    assert (await read(reading(Obedient("a"), Obedient("b")), prefer="b")).provider == "b"


async def test_the_same_asked_by_several_at_once_is_one_call_that_one_of_them_pays() -> None:
    slow, books = Slow(), Books()
    own = reading(slow, books=books)
    tasks = started(*(read(own, on_behalf=person) for person in (ADA, BOB, BOB)))
    await gone_on()
    slow.let.set()
    results: list[ModelRead] = await asyncio.gather(*tasks)
    assert slow.asked == 1
    assert [call.on_behalf for call, _ in books.recorded] == [ADA]
    assert [one.facts for one in results] == [results[0].facts] * 3
    assert [(one.cost_micros, one.saved_micros) for one in results] == [(CALL_MICROS, 0), *[(0, CALL_MICROS)] * 2]


async def test_whoever_stops_waiting_stops_it_for_nobody_else() -> None:
    slow = Slow()
    own = reading(slow)
    first, second = started(read(own), read(own, on_behalf=BOB))
    await gone_on()
    first.cancel()
    await gone_on()
    assert first.cancelled()
    slow.let.set()
    assert (await second).facts
    assert slow.asked == 1


async def test_when_nobody_waits_any_more_it_ends_and_is_on_the_books_and_the_next_one_asks_anew() -> None:
    slow, books = Slow(), Books()
    own = reading(slow, books=books)
    tasks = started(read(own), read(own))
    await gone_on()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert [reply.outcome for _, reply in books.recorded] == [CallOutcome.TIMEOUT]
    slow.let.set()
    assert (await read(own)).facts
    assert slow.asked == 2


async def test_one_that_is_cancelled_before_it_began_leaves_nothing_behind() -> None:
    slow = Slow()
    own = reading(slow)
    task = asyncio.create_task(read(own))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    slow.let.set()
    assert (await read(own)).facts


async def test_a_failure_is_the_same_for_all_who_waited_and_the_next_one_asks_anew() -> None:
    slow = Slow(replies=[Reply(outcome=CallOutcome.REFUSED)])
    own = reading(slow)
    tasks = started(read(own), read(own))
    await gone_on()
    slow.let.set()
    results: list[ModelRead] = await asyncio.gather(*tasks)
    assert len({one.failure for one in results}) == 1
    assert [(one.cost_micros, one.saved_micros) for one in results] == [(CALL_MICROS, 0), (0, 0)]
    await read(own)
    assert slow.asked == 2


async def test_that_the_money_of_one_person_is_spent_keeps_no_other_one_from_asking() -> None:
    model = Obedient()
    own = reading(model, books=Books(spent=frozenset({ADA.owner_id})))
    ada, bob, also_ada = await asyncio.gather(read(own), read(own, on_behalf=BOB), read(own))
    assert ada.failure == also_ada.failure == "nobody read the facts: your budget of today is spent"
    assert (bob.failure, bob.cost_micros) == (None, CALL_MICROS)
    assert len(model.seen) == 1


async def test_nobody_waits_for_the_call_of_another_longer_than_they_may() -> None:
    slow = Slow()
    own = reading(slow)
    (first,) = started(read(own))
    await gone_on()
    now = asyncio.get_running_loop().time()
    late = await read(own, on_behalf=BOB, until=now)
    assert (late.facts, late.cost_micros) == ({}, 0)
    assert late.failure == "nobody read the facts: there was no whole answer in time"
    slow.let.set()
    assert (await first).facts


@dataclass
class NoAnswers(AnswersInMemory):
    """A store that does not answer."""

    async def find(self, key: bytes, *, at: datetime) -> None:
        raise OSError("the store is away")


async def test_an_outage_of_the_store_is_told_as_that_to_all() -> None:
    own = reading(Obedient(), answers=NoAnswers())
    results = await asyncio.gather(read(own), read(own), return_exceptions=True)
    assert [type(one) for one in results] == [OSError, OSError]


async def test_work_that_was_left_by_all_takes_its_failure_with_it() -> None:
    left = asyncio.Event()

    async def failing() -> int:
        try:
            await left.wait()
        finally:
            raise OSError

    task = asyncio.create_task(SingleFlight[int]().join(b"", failing))
    await gone_on()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


@dataclass
class Watching:
    """Texts of evidence that remember in which thread they were found."""

    text: str = "In stock, 49 EUR"
    threads: list[bool] = field(default_factory=list)
    checked: list[bool] = field(default_factory=list)
    edition: str = "watching"

    def text_of(self, source: Source, document: Document, select: Select | None) -> str:
        self.threads.append(_is_apart())
        return self.text

    def numbers_in(self, text: str) -> Sequence[float]:
        self.checked.append(_is_apart())
        return [49.0]


def _is_apart() -> bool:
    """Whether this thread is another one than that of the loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return True
    return False


@pytest.mark.parametrize(
    ("size", "select", "apart"),
    [
        (IN_PLACE_BYTES_MAX, None, False),
        (IN_PLACE_BYTES_MAX + 1, None, True),
        (1, Select(css="p"), False),
        (1, Select(text="main"), True),
    ],
)
async def test_what_takes_long_holds_up_nobody_else(size: int, select: Select | None, *, apart: bool) -> None:
    texts = Watching()
    own = reading(Obedient())
    watching = ModelReading(own._asking, texts, AnswersInMemory(), now=own._now)
    await read(watching, [msgspec.structs.replace(IN_STOCK, select=select)], document("x" * size))
    assert texts.threads == [apart]


@pytest.mark.parametrize("apart", [False, True])
async def test_looking_up_an_answer_in_a_long_text_holds_up_nobody_else(*, apart: bool) -> None:
    texts = Watching("49 EUR" + " more" * (IN_PLACE_BYTES_MAX if apart else 1))
    own = reading(Obedient())
    watching = ModelReading(own._asking, texts, AnswersInMemory(), now=own._now)
    result = await read(watching, [PRICE], document("49"))
    assert (result.facts["price"].value, texts.checked) == (49.0, [apart]), "each answer is looked up once"


def test_the_edition_tells_what_is_asked_and_shown_and_not_who_is_asked() -> None:
    own, other = reading(Obedient("a")), reading(Failing(CallOutcome.AUTH))
    assert own.edition == other.edition
    assert ModelReading(own._asking, Watching(), AnswersInMemory(), now=own._now).edition != own.edition


def test_the_edition_is_another_one_when_the_wording_is(monkeypatch: pytest.MonkeyPatch) -> None:
    own = reading(Obedient())
    before = own.edition
    model_reading._edition.cache_clear()
    monkeypatch.setattr(model_reading, "READING", model_reading.READING[:1])
    assert own.edition != before
    monkeypatch.undo()
    model_reading._edition.cache_clear()
    assert own.edition == before


async def test_facts_of_a_page_say_where_and_when_they_were_read() -> None:
    of = document(PAGE)
    facts: list[Fact] = list((await read(reading(Obedient()), of=of)).facts.values())
    assert {(fact.source_url, fact.evidence_hash, fact.observed_at) for fact in facts} == {
        (URL, of.hash, of.fetched_at)
    }


async def test_when_one_of_several_texts_cannot_be_read_the_others_are_and_both_is_told() -> None:
    refused: Callable[[Inquiry], bool] = lambda inquiry: inquiry.task is Task.EVALUATE  # noqa: E731  a name for what it says

    @dataclass
    class Choosy(Obedient):
        async def call(self, inquiry: Inquiry, *, seconds: float) -> Reply:
            return (
                Reply(outcome=CallOutcome.REFUSED) if refused(inquiry) else await super().call(inquiry, seconds=seconds)
            )

    stock = msgspec.structs.replace(IN_STOCK, select=Select(css="#stock"))
    result = await read(reading(Choosy()), (PRICE, stock))
    assert set(result.facts) == {"price"}
    assert result.failure == "obedient read nothing: it refused to answer"
    assert result.cost_micros == 2 * CALL_MICROS
