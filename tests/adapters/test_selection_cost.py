"""Selections that would hold up everything else are known before they are run, however they are written."""

from datetime import UTC, datetime

import pytest

from adapters.document_reader import read_fact
from adapters.fact_selection import check_select
from adapters.parsed_document import ParsedDocument
from adapters.selection_cost import CSS_STEPS_MAX, css_steps, page_shape
from domain.errors import InvalidInput
from domain.evidence import Document, FetchOutcome
from domain.fact import Fact, FactSpec, FactType, Select
from domain.source import HttpSource

SIBLINGS = "<p>a</p>" * 20_000
DEEP = "<div>" * 400 + "<p>a</p>" * 20_000
FEW = "<p>a</p>" * 900


def table(rows: int, columns: int) -> str:
    return "<table>" + ("<tr>" + "<td>a</td>" * columns + "</tr>") * rows + "</table>"


def document(text: str, content_type: str) -> Document:
    return Document(
        url="https://example.org/",
        outcome=FetchOutcome.OK,
        fetched_at=datetime(2026, 1, 1, tzinfo=UTC),
        content_type=content_type,
        body=text.encode(),
        hash="0",
    )


def page(text: str) -> ParsedDocument:
    return ParsedDocument(document(text, "text/html"))


def read(text: str, select: Select, content_type: str) -> Fact | None:
    spec = FactSpec(name="x", type=FactType.TEXT, select=select)
    return read_fact(spec, HttpSource(url="https://example.org/"), document(text, content_type))


@pytest.mark.parametrize(
    ("text", "selector"),
    [
        (SIBLINGS, "p:nth-child(3)"),
        (SIBLINGS, "p:NTH-CHILD(3)"),
        (SIBLINGS, r"p:n\74h-child(3)"),
        (SIBLINGS, r"p:nt\h-child(3)"),
        (SIBLINGS, "p:nth-last-of-type(3)"),
        (SIBLINGS, "p:not(:nth-child(3))"),
        (SIBLINGS, '/*"*/ q ~ p /*"*/'),
        (SIBLINGS, "/*'*/ q ~ p /*'*/"),
        (SIBLINGS, 'p:not([a="]"]) ~ q:not([a="]"])'),
        (SIBLINGS * 2, ",".join(["q"] * 480)),
        (SIBLINGS, "p" + ":nth-child(n)" * 60),
        (FEW, ":is(q ~ p, q) ~ p"),
        (FEW, "p:nth-child(n of :nth-child(n of p))"),
        (DEEP, "div.x p"),
        (DEEP, ":has(q)"),
        (f'<p a="{"x" * 1_000_000}">', f'[a*="{"x" * 700}y" i]'),
        (table(5_000, 6), "tr:nth-child(2) td"),
    ],
)
def test_a_css_selector_that_would_hold_up_all_threads_is_not_run(text: str, selector: str) -> None:
    check_select(Select(css=selector), "select")  # the engine takes it for a selector
    assert not page(text).can_afford_css(selector)


@pytest.mark.parametrize(
    ("text", "selector"),
    [
        (table(5_000, 2), "tr:nth-child(2) td"),
        (table(5_000, 2), "table td:nth-child(2)"),
        (table(5_000, 6), "td.amount, .price > span"),
        ("<p>a</p>" * 5_000, "p:nth-child(3)"),
        ("<div>" * 15 + "<p>a</p>" * 300, "main .offers div[class*='price'] > p ~ p"),
        (SIBLINGS, 'p[a="q ~ p:nth-child(3)"]'),
    ],
)
def test_what_people_write_is_run_on_large_pages(text: str, selector: str) -> None:
    assert page(text).can_afford_css(selector)


@pytest.mark.parametrize("selector", ["b c", "b ~ c", "p:nth-child(2)", "b:nth-child(2) c", "c:has(b)", "b, c"])
def test_a_larger_page_never_costs_less(selector: str) -> None:
    shapes = [page_shape([(1, 0), *((i, 1 + i % 3) for i in range(2, size))], size) for size in (5, 50, 500)]
    steps = [css_steps(selector, shape) for shape in shapes]
    assert steps == sorted(steps)
    assert 0 < steps[0] < steps[-1] < CSS_STEPS_MAX


@pytest.mark.parametrize(
    "expression",
    [
        "//*[count(//*[count(//*)=1])=1]",
        "//*[count(/html/body/p[count(/html/body/p)=1])=1]",
        "//*[../../*[../../*]]",
        "//p[following::p[following::p]]",
        "//*[id(.)[id(.)]]",
    ],
)
def test_an_xpath_whose_predicates_multiply_is_not_run(expression: str) -> None:
    check_select(Select(xpath=expression), "select")
    assert not page(FEW + "<p>a</p>" * 3_000).can_afford_xpath(expression)


def test_an_xpath_that_makes_text_of_a_document_again_and_again_is_not_run() -> None:
    text = "<?xml version='1.0'?><r>" + "x" * 1_000_000 + "</r>"
    assert read(text, Select(xpath=f"string-length(concat({','.join(['/'] * 490)}))"), "text/xml") is None
    assert read(text, Select(xpath=f"translate(/, '{'y' * 900}', '')"), "text/xml") is None


@pytest.mark.parametrize(
    "expression",
    [
        "//tr[2]/td",
        "//tr[td='a']/td[2]",
        "//td[../td='a']",
        "//table[.//td[contains(., 'a')]]//tr[2]/td[2]",
        "concat(//tr[1]/td[1], ' ', //tr[2]/td[1])",
    ],
)
def test_an_xpath_that_people_write_is_run_on_a_large_table(expression: str) -> None:
    found = read(table(5_000, 2), Select(xpath=expression), "text/html")
    assert found is not None
    assert found.value in {"a", "a a"}


def test_of_an_xpath_that_finds_everything_no_more_is_taken_than_a_list_holds() -> None:
    spec = FactSpec(name="x", type=FactType.LIST, select=Select(xpath="//td | //th"))
    fact = read_fact(spec, HttpSource(url="https://example.org/"), document(table(2_000, 2), "text/html"))
    assert fact is not None
    assert fact.value == ["a"] * 1_000


NESTED = "[" * 90 + "1" + "]" * 90
ZEROS = "[" + "0," * 30_000 + "0]"


@pytest.mark.parametrize(
    ("text", "query"),
    [
        (NESTED, "$" + "[0,0]" * 80 + ".z"),
        (NESTED, "$" + "[*,*]" * 80 + ".z"),
        ("[" + f"{NESTED}," * 300 + "0]", "$..*..*..*..*..z"),
        (ZEROS, "$[?count($..*)<1]"),
        (ZEROS, "$[?$[?@==1]]"),
        (ZEROS, "$[?@!=0 && $==$]"),
        (ZEROS, "$[?$!=$]"),
        ('{"t":"' + "x" * 30_000 + '","l":' + ZEROS + "}", "$.l[?search($.t,'x.*y')]"),
    ],
)
@pytest.mark.timeout(20)
def test_a_jsonpath_that_multiplies_ends(text: str, query: str) -> None:
    check_select(Select(jsonpath=query), "select")
    assert read(text, Select(jsonpath=query), "application/json") is None


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ("$[?@.price < 10].name", "z"),
        ("$..[?@.price < 10].name", "z"),
        ("$[-1].name", "z"),
        ("$[?@.tags == ['none']].name", None),
        ("$[?@.tags == $[0].tags].name", "abc"),
        ("$[?search(@.name, '^z')].name", "z"),
    ],
)
def test_a_jsonpath_that_people_write_is_run_on_a_large_document(query: str, value: str | None) -> None:
    text = "[" + '{"name":"abc","price":12.5,"tags":["a","b"]},' * 5_000 + '{"name":"z","price":1}]'
    if value is None:
        with pytest.raises(InvalidInput):
            check_select(Select(jsonpath=query), "select")
        return
    fact = read(text, Select(jsonpath=query), "application/json")
    assert fact is not None
    assert fact.value == value


def test_what_one_query_looked_at_is_not_counted_for_the_next() -> None:
    for _ in range(2):
        assert read(ZEROS, Select(jsonpath="$[?count($..*)<1]"), "application/json") is None
        assert read(ZEROS, Select(jsonpath="$[-1]"), "application/json") is not None


def test_a_regular_expression_that_is_too_large_is_refused_with_its_size() -> None:
    check_select(Select(regex=r"Price.{0,200}EUR"), "select")
    with pytest.raises(InvalidInput, match=r"too large: \d+ steps for each character, 5000 at most"):
        check_select(Select(regex=r"(\pL+ ){1,10}"), "select")


@pytest.mark.parametrize(("size", "found"), [(100_000, True), (900_000, False)])
def test_a_large_regular_expression_is_looked_for_in_the_beginning_of_a_text(size: int, *, found: bool) -> None:
    large, small = Select(regex=r"(?:a|b){1,30}(?:.{0,300})(needle)"), Select(regex="(needle)")
    text = "x" * size + "needle"
    assert (read(text, large, "text/plain") is not None) is False
    assert read(text, small, "text/plain") is not None
    text = "x" * size + "ab needle"
    assert (read(text, large, "text/plain") is not None) is found
