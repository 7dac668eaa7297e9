"""What whoever asks is told while all providers rest, and that it is nothing they paid for."""

import msgspec
import pytest
from uuid_utils.compat import uuid7

from commands.asking import Asking, Inquiry, Reply
from commands.look import Look
from commands.model_reading import ModelRead
from commands.model_searching import ModelSearching
from commands.resting import rest_seconds
from domain.breaker import FAILURES, REST_SECONDS, BreakerState, BreakerView
from domain.model_call import CallOutcome
from domain.source import SearchSource
from tests.commands.model_world import ADA, PRICE, SHOP, Books, document, reading
from tests.conftest import AT

RESTS = BreakerView(provider="claude", model="m-1", state=BreakerState.OPEN, rest_seconds=42.1)
ENDINGS = {
    CallOutcome.AUTH: "it does not take the key (it rests, and",
    CallOutcome.MALFORMED: "it does not work at present (it rests because its answer was not of the form that was asked for, and",
    CallOutcome.OVERLOADED: "it does not work at present (it rests, and",
    CallOutcome.RATE_LIMITED: "it takes no more requests at present (it rests, and",
    CallOutcome.TIMEOUT: "there was no whole answer in time (it rests, and",
}
UNTIL = "is asked again in 43 seconds)"


class Refusing:
    """A model that refuses whoever asks."""

    name, model = "claude", "m-1"
    asked = 0

    async def call(self, inquiry: Inquiry, *, seconds: float) -> Reply:
        self.asked += 1
        return Reply(outcome=CallOutcome.REFUSED)


async def read(model: Refusing, books: Books) -> ModelRead:
    return await reading(model, books=books).read(
        (PRICE,), SHOP, document("price: 49 EUR"), on_behalf=ADA, prefer=None, until=None
    )


async def searched(model: Refusing, books: Books) -> ModelRead:
    asking = Asking(providers=[model], ledger=books, breakers=books, tracing=books, now=lambda: AT, new_id=uuid7)
    source = SearchSource(query="a kettle")
    _, found = await ModelSearching(asking).search(source, on_behalf=ADA, prefer=None, until=None, now=AT)
    return found


@pytest.mark.parametrize("because", sorted(FAILURES))
async def test_why_all_of_them_rest_is_told_and_facts_are_asked_for_again_soon(because: CallOutcome) -> None:
    model, books = Refusing(), Books(resting=msgspec.structs.replace(RESTS, because=because))
    found = [await read(model, books), await searched(model, books)]
    assert [each.failure for each in found] == [
        f"claude read nothing: {ENDINGS[because]} {UNTIL}",
        f"the web could not be searched by claude: {ENDINGS[because]} {UNTIL}",
    ]
    assert model.asked == 0
    for each in found:
        assert Look((), {}, AT, asked=(each,)).may_be_read_soon, "nothing was paid for in vain"
        assert (each.provider, each.model, each.cost_micros) == (None, None, 0), "nobody was asked"


async def test_what_was_refused_was_paid_for_in_vain_and_is_not_asked_for_soon() -> None:
    model = Refusing()
    for each in (await read(model, Books()), await searched(model, Books())):
        assert not Look((), {}, AT, asked=(each,)).may_be_read_soon
    assert model.asked == 2


@pytest.mark.parametrize(("rests", "told"), [(42.1, 42.1), (0.0, REST_SECONDS)])
def test_who_is_being_tried_is_not_to_be_asked_for_every_second(rests: float, told: float) -> None:
    books = Books(resting=msgspec.structs.replace(RESTS, state=BreakerState.HALF_OPEN, rest_seconds=rests))
    assert rest_seconds(books, [("claude", "m-1")]) == told
