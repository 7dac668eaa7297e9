"""What calls cost: after a table that is fixed, rounded up, and never nothing for what was used of a model nobody knows."""

import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict, replace
from structlog.testing import capture_logs

from adapters.model_prices import (
    SEARCH_INPUT_TOKENS,
    SEARCHES_MAX,
    WORDS_AROUND_TOKENS,
    ModelPrices,
    _at_prices,
    _known,
    _rounded,
)
from domain.model_call import TokenUsage

AT = datetime(2026, 11, 1, tzinfo=UTC)
PRICES = ModelPrices()
MODELS = [
    ("claude", "claude-sonnet-4-5"),  # dearer above 200,000 tokens
    ("claude", "claude-haiku-4-5"),
    ("claude", "claude-haiku-5-5"),  # dearer above 100,000
    ("openai", "gpt-5-mini"),
    ("openai", "gpt-5.4"),
    ("openai", "gpt-4.1-nano"),  # without a price of searches
    ("openai", "o3-pro"),  # without a price of cached input
    ("openai", "text-embedding-3-small"),  # without a price of output
    ("claude", "nobody-knows"),
    ("openai", "nobody-knows"),
    ("somewhere", "else"),
]
models = st.sampled_from(MODELS)
counts = st.integers(0, 400_000)
usages = st.builds(
    lambda fresh, read, written, out, searches: TokenUsage(
        input_tokens=fresh + read + written,
        output_tokens=out,
        cache_read_tokens=read,
        cache_write_tokens=written,
        searches=searches,
    ),
    counts,
    counts,
    counts,
    counts,
    st.integers(0, 20),
)


@given(models, usages)
def test_what_is_found_fast_is_what_the_table_says(model: tuple[str, str], usage: TokenUsage) -> None:
    known = _known(*model, AT)
    if known is not None:
        assert cost(model, usage) == _rounded(_at_prices(known, usage))


def cost(model: tuple[str, str], usage: TokenUsage) -> int:
    return PRICES.cost_micros(*model, usage, at=AT)


@pytest.mark.parametrize(
    ("model", "usage", "micros"),
    [
        # 1,000 at 1 USD and 500 at 5 USD for a million.
        (("claude", "claude-haiku-4-5"), TokenUsage(input_tokens=1_000, output_tokens=500), 3_500),
        # 3,000 of 10,000 from the cache at 0.10, 2,000 into it at 1.25, 5,000 at 1.
        (
            ("claude", "claude-haiku-4-5"),
            TokenUsage(input_tokens=10_000, cache_read_tokens=3_000, cache_write_tokens=2_000),
            300 + 2_500 + 5_000,
        ),
        # Of more than 200,000 tokens each costs 6 USD for a million in place of 3, and each that comes out 22.50.
        (("claude", "claude-sonnet-4-5"), TokenUsage(input_tokens=200_000, output_tokens=1_000), 615_000),
        (("claude", "claude-sonnet-4-5"), TokenUsage(input_tokens=200_001, output_tokens=1_000), 1_222_506),
        # 1,000 at 0.25, of which 400 from the cache at 0.025, and 100 at 2, and 3 searches at 10 USD for 1,000.
        (
            ("openai", "gpt-5-mini"),
            TokenUsage(input_tokens=1_000, cache_read_tokens=400, output_tokens=100, searches=3),
            150 + 10 + 200 + 30_000,
        ),
        # 1 token at 0.25 for a million is a quarter of the smallest amount.
        (("openai", "gpt-5-mini"), TokenUsage(input_tokens=1), 1),
        (("openai", "gpt-5-mini"), TokenUsage(), 0),
        # A model for which the table has no searches: 25 USD for 1,000.
        (("openai", "gpt-4.1-nano"), TokenUsage(searches=2), 50_000),
        # What OpenAI sells as ordinary costs 75 and 150 at most, what Anthropic does 15 and 75.
        (("openai", "nobody-knows"), TokenUsage(input_tokens=1_000, output_tokens=100), 75_000 + 15_000),
        (("claude", "nobody-knows"), TokenUsage(input_tokens=1_000, output_tokens=100), 15_000 + 7_500),
        (("somewhere", "else"), TokenUsage(input_tokens=1_000, output_tokens=100), 75_000 + 15_000),
    ],
)
def test_a_call_costs_what_one_reckons_by_hand(model: tuple[str, str], usage: TokenUsage, micros: int) -> None:
    assert cost(model, usage) == micros


@given(models, usages, st.sampled_from(["input_tokens", "output_tokens", "searches"]), counts)
def test_more_of_anything_never_costs_less(model: tuple[str, str], usage: TokenUsage, name: str, more: int) -> None:
    assert cost(model, replace(usage, **{name: getattr(usage, name) + more})) >= cost(model, usage)


@given(models, usages, st.sampled_from(["cache_read_tokens", "cache_write_tokens"]), counts)
def test_more_that_goes_in_through_the_cache_never_costs_less(
    model: tuple[str, str], usage: TokenUsage, name: str, more: int
) -> None:
    larger = {name: getattr(usage, name) + more, "input_tokens": usage.input_tokens + more}
    assert cost(model, replace(usage, **larger)) >= cost(model, usage)


@given(models, usages)
def test_a_cost_is_a_whole_number_and_the_same_each_time(model: tuple[str, str], usage: TokenUsage) -> None:
    micros = cost(model, usage)
    assert isinstance(micros, int)
    assert micros == ModelPrices().cost_micros(*model, usage, at=AT)
    assert micros >= 0


@given(st.sampled_from(MODELS[-4:]), usages)
def test_of_a_model_nobody_knows_everything_costs_something(model: tuple[str, str], usage: TokenUsage) -> None:
    assert (cost(model, usage) > 0) == any(asdict(usage).values())


wild = st.integers(-(10**30), 10**30)


@given(
    models,
    st.builds(
        TokenUsage,
        input_tokens=wild,
        output_tokens=wild,
        cache_read_tokens=wild,
        cache_write_tokens=wild,
        searches=wild,
    ),
)
def test_whatever_a_provider_counts_has_a_price_that_can_be_stored(model: tuple[str, str], usage: TokenUsage) -> None:
    assert 0 <= cost(model, usage) < 2**63


@given(
    models,
    st.text(max_size=3_000),
    st.integers(0, 5_000),
    st.integers(0, SEARCHES_MAX),
    st.sampled_from(["", "r", "w"]),
)
def test_no_call_of_a_size_costs_more_than_was_estimated_for_it(
    model: tuple[str, str], text: str, out: int, searches: int, cached: str
) -> None:
    put_in = len(text.encode()) // 3 + WORDS_AROUND_TOKENS + searches * SEARCH_INPUT_TOKENS
    usage = TokenUsage(
        input_tokens=put_in,
        output_tokens=out,
        cache_read_tokens=put_in if cached == "r" else 0,
        cache_write_tokens=put_in if cached == "w" else 0,
        searches=searches,
    )
    estimate = PRICES.most_micros(*model, len(text.encode()), out, at=AT, searches=searches > 0)
    assert estimate >= cost(model, usage)


def test_prices_are_those_of_the_time_of_the_call() -> None:
    usage = TokenUsage(input_tokens=1_000_000)
    before, after = (
        PRICES.cost_micros("openai", "o3", usage, at=datetime(2025, 6, day, tzinfo=UTC)) for day in (9, 10)
    )
    assert (before, after) == (10_000_000, 2_000_000)


def test_ones_own_prices_come_before_the_table() -> None:
    own = ModelPrices({"Llama-3": (Decimal(0), Decimal(0)), "gpt-5": (Decimal("1.5"), Decimal(3))})
    usage = TokenUsage(input_tokens=1_000, output_tokens=1_000)
    assert own.cost_micros("openai", "llama-3", usage, at=AT) == 0
    assert own.cost_micros("openai", "gpt-5", usage, at=AT) == 4_500
    assert own.most_micros("openai", "llama-3", 10_000, 1_000, at=AT) == 0
    assert own.cost_micros("openai", "gpt-5-mini", usage, at=AT) == PRICES.cost_micros(
        "openai", "gpt-5-mini", usage, at=AT
    )


def test_a_model_that_answers_under_another_name_has_the_price_of_the_one_that_was_asked_for() -> None:
    usage = TokenUsage(input_tokens=1_000)
    own = ModelPrices({"llama-3": (Decimal(0), Decimal(0))})
    assert own.cost_micros("openai", "llama-3:70b-q4", usage, at=AT, asked_for="llama-3") == 0
    assert PRICES.cost_micros("claude", "haiku, newest", usage, at=AT, asked_for="claude-haiku-4-5") == 1_000
    assert PRICES.cost_micros("claude", "claude-haiku-4-5-20251001", usage, at=AT, asked_for="the best") == 1_000


def test_the_version_says_which_prices_they_are() -> None:
    table = PRICES.version
    one = ModelPrices({"a": (Decimal(1), Decimal(2))}).version
    assert table.startswith("genai-prices ")
    assert one.startswith(f"{table} + ")
    assert one == ModelPrices({"a": (Decimal(1), Decimal(2))}).version
    assert one != ModelPrices({"a": (Decimal(1), Decimal(3))}).version


@pytest.mark.parametrize("price", ["-0.01", "NaN", "Infinity"])
def test_a_price_that_cannot_be_is_refused(price: str) -> None:
    with pytest.raises(ValueError, match="a price of mine"):
        ModelPrices({"mine": (Decimal(1), Decimal(price))})


def test_a_model_nobody_knows_is_named_in_the_log_once() -> None:
    prices = ModelPrices()
    with capture_logs() as logs:
        for _ in range(3):
            prices.cost_micros("openai", "nobody-knows", TokenUsage(input_tokens=1), at=AT)
    assert [(entry["model"], entry["cure"]) for entry in logs] == [("nobody-knows", "set its price in VIGIL_AI_PRICES")]


def test_knowing_prices_opens_no_connection_and_starts_no_thread() -> None:
    program = """
import socket, threading
def refuse(*_): raise AssertionError("a connection")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from datetime import UTC, datetime
from adapters.model_prices import ModelPrices
from domain.model_call import TokenUsage
ModelPrices().cost_micros("openai", "gpt-5", TokenUsage(input_tokens=1), at=datetime(2026, 1, 1, tzinfo=UTC))
assert threading.active_count() == 1, threading.enumerate()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("tokens", [99_999, 100_000, 100_001])
def test_what_is_found_fast_ends_where_dearer_prices_begin(tokens: int) -> None:
    model, usage = ("claude", "claude-haiku-5-5"), TokenUsage(input_tokens=tokens, output_tokens=10)
    known = _known(*model, AT)
    assert known is not None
    assert cost(model, usage) == _rounded(_at_prices(known, usage))
