"""Mails as people get them: what they say, and that nothing from outside takes part in how they say it (SECURITY row 56)."""

import re
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from selectolax.lexbor import LexborHTMLParser, LexborNode

from adapters.jinja_mail_renderer import HTML_BYTES_MAX, JinjaMailRenderer
from domain.evaluation import Evidence
from domain.fact import Fact, FactType, FactValue
from domain.mail import (
    AlertContent,
    AlreadyRegisteredContent,
    FailingContent,
    MailContent,
    Outage,
    RecoveredContent,
    VerifyEmailContent,
)
from domain.monitor import State

AT = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
PAGE = "https://shop.example/monitor"
RENDERER = JinjaMailRenderer()


def fact(
    value: FactValue = 189.9, *, kind: FactType = FactType.NUMBER, source_url: str = PAGE, quote: str = "now 189,90"
) -> Fact:
    return Fact(
        name="price",
        type=kind,
        value=value,
        unit="EUR",
        confidence=0.93,
        quote=quote,
        source_url=source_url,
        evidence_hash="ab" * 32,
        observed_at=AT,
    )


ALERT = AlertContent(
    person_name="Ada",
    timezone="Europe/Berlin",
    monitor_id=UUID(int=1),
    monitor_name="Cheap monitor",
    prompt="Tell me when the monitor\ndrops under 200 EUR",
    explanation="The price is below the limit.",
    condition="price < 200.0",
    state_before=State.INACTIVE,
    state_after=State.ACTIVE,
    facts=(fact(),),
    inputs={"price": 189.9, "previous(price)": None, "in_stock": True},
    evidence=(
        Evidence(url=PAGE, outcome="ok", hash="ab" * 32, fetched_at=AT),
        Evidence(url="https://shop.example/stock.json", outcome="not_modified", fetched_at=AT),
    ),
    evaluation_id=UUID(int=7),
    evaluated_at=AT,
    monitor_url="http://127.0.0.1:8000/monitors/1",
)
VERIFY = VerifyEmailContent(
    person_name="Ada", link="http://127.0.0.1:8000/verify-email?token=abc", token="abc", expires_at=AT
)
AGAIN = AlreadyRegisteredContent(person_name="Ada", login_url="http://127.0.0.1:8000/login")


OUTAGE = Outage(
    monitor_name="Cheap monitor",
    monitor_url="http://127.0.0.1:8000/monitors/1",
    source_urls=(PAGE,),
    state=State.INACTIVE,
    failures=3,
    code="SOURCE_SERVER_ERROR",
    message="shop.example answered 500",
    since=AT,
)
FAILING = FailingContent(person_name="Ada", timezone="Europe/Berlin", outages=(OUTAGE,))
OVER = RecoveredContent(
    person_name="Ada", timezone="Europe/Berlin", outages=(replace(OUTAGE, until=AT + timedelta(hours=2)),)
)


def html(content: MailContent) -> LexborHTMLParser:
    return LexborHTMLParser(RENDERER.render(content).html)


def text(content: MailContent) -> str:
    return RENDERER.render(content).text


def shown(content: MailContent) -> str:
    """The words of the HTML form, white space made one."""
    body = html(content).body
    assert body is not None
    return " ".join(body.text(separator=" ").split())


def one(tree: LexborHTMLParser, selector: str) -> LexborNode:
    [found] = tree.css(selector)
    return found


def links(content: MailContent) -> set[str | None]:
    return {a.attributes["href"] for a in html(content).css("a")}


def test_an_alert_says_first_what_happened() -> None:
    sentence = "“Cheap monitor” is now active; it was inactive before."
    assert one(html(ALERT), "h1").text() == sentence
    assert text(ALERT).startswith(sentence)
    assert one(html(ALERT), ".change").text() == "inactive→active"
    assert "State: inactive -> active" in text(ALERT)


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        (State.UNKNOWN, State.ACTIVE, "“Cheap monitor” is now active; it was unknown before."),
        (State.ACTIVE, State.INACTIVE, "“Cheap monitor” is now inactive; it was active before."),
        (State.ACTIVE, State.ACTIVE, "“Cheap monitor” is still active, and its condition was met again."),
        (State.INACTIVE, State.INACTIVE, "“Cheap monitor” is still inactive."),
    ],
)
def test_the_sentence_fits_what_happened(before: State, after: State, sentence: str) -> None:
    assert one(html(replace(ALERT, state_before=before, state_after=after)), "h1").text() == sentence


@pytest.mark.parametrize("form", [shown, text])
def test_an_alert_has_the_facts_the_question_the_reason_and_the_time(form: Callable[[MailContent], str]) -> None:
    words = " ".join(form(ALERT).split())
    for part in (
        "189.9 EUR",
        "now 189,90",
        PAGE,
        "93%",
        "Tell me when the monitor drops under 200 EUR",
        "The price is below the limit.",
        "price < 200.0",
        "previous(price)",
        "not known",
        "yes",
        "Monday, 2 March 2026, 00:30 (Europe/Berlin, UTC+01:00)",
        "unchanged since the last look",
        str(UUID(int=7)),
    ):
        assert part in words


def test_an_alert_links_to_the_monitor_and_to_what_was_read() -> None:
    assert links(ALERT) == {"http://127.0.0.1:8000/monitors/1", PAGE, "https://shop.example/stock.json"}
    assert "The monitor: http://127.0.0.1:8000/monitors/1" in text(ALERT)


@pytest.mark.parametrize("form", [shown, text])
def test_a_mail_about_an_outage_says_since_when_what_was_wrong_what_helps_and_what_stays(
    form: Callable[[MailContent], str],
) -> None:
    words = " ".join(form(FAILING).split())
    for part in (
        "“Cheap monitor” cannot be read",
        "since Monday, 2 March 2026, 00:30 (Europe/Berlin, UTC+01:00); 3 looks in a row",
        "shop.example answered 500",
        "SOURCE_SERVER_ERROR",
        PAGE,
        "Most often this passes by itself",
        "Its state stays inactive",
        "Nothing was reported as a change",
        "goes on looking",
    ):
        assert part in words


@pytest.mark.parametrize("form", [shown, text])
def test_a_mail_that_an_outage_is_over_says_from_when_to_when(form: Callable[[MailContent], str]) -> None:
    words = " ".join(form(OVER).split())
    for part in (
        "“Cheap monitor” can be read again",
        "from Monday, 2 March 2026, 00:30 (Europe/Berlin, UTC+01:00) to Monday, 2 March 2026, 02:30",
        "shop.example answered 500",
        "Its state is inactive now",
    ):
        assert part in words


def test_a_mail_about_outages_links_to_the_monitors_and_their_sources() -> None:
    assert links(FAILING) == {"http://127.0.0.1:8000/monitors/1", PAGE}
    assert links(OVER) == {"http://127.0.0.1:8000/monitors/1"}
    other = replace(OUTAGE, monitor_url="http://127.0.0.1:8000/monitors/2", source_urls=("javascript:alert(1)",))
    both = replace(FAILING, outages=(OUTAGE, other))
    assert links(both) == {"http://127.0.0.1:8000/monitors/1", "http://127.0.0.1:8000/monitors/2", PAGE}
    assert "javascript:alert(1)" in shown(both)


@pytest.mark.parametrize("content", [FAILING, OVER])
def test_a_mail_about_a_thousand_outages_is_not_cut_off_and_tells_how_many_more(
    content: FailingContent | RecoveredContent,
) -> None:
    long = replace(
        content.outages[0], monitor_name="&" * 500, message="<" * 5000, source_urls=("http://x/" + "&" * 900,) * 9
    )
    many = replace(content, outages=(long,) * 1000)
    assert len(RENDERER.render(many).html.encode()) <= HTML_BYTES_MAX
    for words in (shown(many), text(many)):
        assert "and 999 others" in words
        assert re.search(r"and 9\d\d more monitors", words)


@pytest.mark.parametrize("code", ["SOURCE_GONE", "SOURCE_BLOCKED", "SOURCE_NEVER_HEARD_OF"])
def test_a_person_is_told_what_to_do_about_each_kind_of_failure(code: str) -> None:
    usual = html(FAILING).css(".advice")[0].text()
    assert html(replace(FAILING, outages=(replace(OUTAGE, code=code),))).css(".advice")[0].text() not in {usual, ""}


@given(st.lists(st.text(max_size=60), min_size=5, max_size=5))
@settings(max_examples=30)
def test_nothing_from_outside_steers_a_mail_about_outages(words: list[str]) -> None:
    name, url, code, message, person = words
    outage = replace(
        OUTAGE, monitor_name=name, monitor_url=url, source_urls=(url,), code=code, message=message, until=AT
    )
    for content in (
        FailingContent(person_name=person, timezone=code, outages=(outage, outage)),
        RecoveredContent(person_name=person, timezone=code, outages=(outage,)),
    ):
        body = RENDERER.render(content)
        assert {node.tag for node in LexborHTMLParser(body.html).css("*")} <= {*TAGS, "div"}
        for form in (body.html, body.text):
            assert {c for c in form if unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"}} == {"\n"}


def test_a_mail_client_previews_the_facts() -> None:
    assert one(html(ALERT), ".preheader").text().startswith("price: 189.9 EUR")
    assert one(html(replace(ALERT, facts=())), ".preheader").text().startswith("The price is below the limit.")


def test_an_alert_without_facts_inputs_or_sources_says_so() -> None:
    empty = replace(ALERT, facts=(), inputs={}, evidence=(), explanation="", person_name="")
    for words in (shown(empty), text(empty)):
        assert "No facts were read." in words
        assert "Nowhere: no source was read." in words


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        (200.0, FactType.NUMBER, "200"),
        (0.1 + 0.2, FactType.NUMBER, "0.3"),
        (1234567.25, FactType.NUMBER, "1234567.25"),
        (True, FactType.BOOLEAN, "yes"),
        (False, FactType.BOOLEAN, "no"),
        ("in stock", FactType.TEXT, "in stock"),
        (["a", "b"], FactType.LIST, "a, b"),
        ([], FactType.LIST, "nothing"),
        ([str(n) for n in range(14)], FactType.LIST, "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 2 more"),
        ("2026-03-01T23:30:00Z", FactType.TIMESTAMP, "2 March 2026, 00:30"),
        ("2026-03-01", FactType.TIMESTAMP, "2026-03-01"),
        ("soon", FactType.TIMESTAMP, "soon"),
    ],
)
def test_values_are_written_as_people_write_them(value: FactValue, kind: FactType, words: str) -> None:
    alert = replace(ALERT, facts=(replace(fact(value, kind=kind), unit=None),))
    assert one(html(alert), ".facts .value").text() == words
    assert f"price: {words}\n" in text(alert)


@pytest.mark.parametrize("timezone", ["UTC", "Nowhere/Nothing", "", "../../etc/passwd", "a\x00b"])
def test_a_time_zone_nobody_knows_is_utc(timezone: str) -> None:
    assert "Sunday, 1 March 2026, 23:30 (UTC)" in text(replace(ALERT, timezone=timezone))


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)//https://shop.example",
        "data:text/html,<script>alert(1)</script>",
        "java\tscript:alert(1)",
        " https://shop.example/",
        "https://shop.example/ onclick=x",
        "https://",
        "//shop.example/",
        "https://[bad/",
        "ftp://shop.example/",
        "https://shop.example/" + "x" * 2000,
    ],
)
def test_what_is_no_web_address_is_shown_as_text(url: str) -> None:
    alert = replace(
        ALERT,
        facts=(fact(source_url=url),),
        evidence=(Evidence(url=url, outcome="ok", fetched_at=AT),),
        monitor_url=url,
    )
    assert links(alert) == set()
    assert "".join(url.split())[:20] in "".join(shown(alert).split())
    assert links(replace(VERIFY, link=url)) == links(replace(AGAIN, login_url=url)) == set()


def test_a_fact_links_only_to_a_host_the_evaluation_has_read() -> None:
    alert = replace(ALERT, facts=(fact(source_url="https://evil.example/login"),))
    assert "https://evil.example/login" not in links(alert)
    assert "https://evil.example/login" in shown(alert)


def test_a_name_is_never_a_template() -> None:
    name = "{{7*7}} {% raw %} ${7*7} {{ config }}"
    alert = replace(ALERT, monitor_name=name, person_name=name, prompt=name, condition=name)
    for words in (shown(alert), text(alert)):
        assert words.count(name) >= 4
        assert "49" not in words


def test_text_from_outside_stays_text_in_html_and_unescaped_in_text() -> None:
    name = '<script>alert("1")</script>&amp;<a href="https://evil.example" onclick=x>'
    alert = replace(
        ALERT, monitor_name=name, facts=(fact(quote=name), fact(name, kind=FactType.TEXT)), inputs={name: name}
    )
    assert html(alert).css("script") == []
    assert "https://evil.example" not in links(alert)
    assert name in shown(alert)
    assert name in text(alert)


outside = st.text(max_size=80) | st.sampled_from(
    [
        "<img src=x onerror=alert(1)>",
        '"><script>x</script>',
        "</style><script>",
        "--><svg onload=x>",
        "]]>",
        "\x1b[2J\x00",
        "{{7*7}}",
    ]
)
TAGS = {node.tag for node in LexborHTMLParser(RENDERER.render(ALERT).html).css("*")}
ATTRIBUTES = {
    *("class", "style", "href", "target", "rel", "role", "scope", "dir", "lang", "width", "align", "border", "colspan"),
    *("cellpadding", "cellspacing", "aria-hidden", "name", "content", "charset"),
}


@given(st.lists(outside, min_size=8, max_size=8))
@settings(max_examples=60)
def test_nothing_from_outside_becomes_an_element_an_attribute_or_a_control_character(words: list[str]) -> None:
    name, person, prompt, why, condition, quote, value, url = words
    one_fact = replace(fact(value, kind=FactType.TEXT, quote=quote, source_url=url), name=name, unit=why)
    alert = replace(
        ALERT,
        monitor_name=name,
        person_name=person,
        prompt=prompt,
        explanation=why,
        condition=condition,
        facts=(one_fact, replace(one_fact, value=[value, why], type=FactType.LIST)),
        inputs={condition: value, quote: [value]},
        evidence=(Evidence(url=url, outcome=why, fetched_at=AT),),
        timezone=name,
        monitor_url=url,
    )
    body = RENDERER.render(alert)
    nodes = LexborHTMLParser(body.html).css("*")
    assert {node.tag for node in nodes} <= TAGS
    assert {attribute for node in nodes for attribute in node.attributes} <= ATTRIBUTES
    assert len(LexborHTMLParser(body.html).css("style")) == 1
    for form in (body.html, body.text):
        assert {c for c in form if unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"}} == {"\n"}
        assert "\u202e" not in form


def test_the_largest_alert_is_not_cut_off_by_mail_clients() -> None:
    long = "&" * 5000
    large = replace(
        ALERT,
        monitor_name=long,
        person_name=long,
        prompt=long,
        explanation=long,
        condition=long,
        facts=tuple(fact(long, kind=FactType.TEXT, quote=long, source_url=PAGE + "?" + "&" * 1900) for _ in range(20)),
        inputs={f"{n}{long}": long for n in range(60)},
        evidence=tuple(Evidence(url=PAGE + "?" + "&" * 1900, outcome=long, fetched_at=AT) for _ in range(10)),
        monitor_url=PAGE + "?" + "&" * 1900,
    )
    body = RENDERER.render(large)
    assert len(body.html.encode()) <= HTML_BYTES_MAX
    assert len(RENDERER.render(ALERT).html.encode()) < 20_000
    assert "more facts on the monitor" in body.text


def test_a_usual_alert_shows_every_fact() -> None:
    many = replace(ALERT, facts=tuple(replace(fact(), name=f"fact_{n}") for n in range(20)))
    assert [node.text() for node in html(many).css(".facts th")] == [f"fact_{n}" for n in range(20)]


@pytest.mark.parametrize("content", [ALERT, VERIFY, AGAIN], ids=["alert", "verify", "again"])
def test_every_mail_is_one_column_in_light_and_dark_and_loads_nothing(content: MailContent) -> None:
    body = RENDERER.render(content)
    tree = LexborHTMLParser(body.html)
    assert body.html.lower().startswith("<!doctype html>")
    assert one(tree, "html").attributes["lang"] == "en"
    assert one(tree, 'meta[name="color-scheme"]').attributes["content"] == "light dark"
    assert "@media (prefers-color-scheme: dark)" in one(tree, "style").text()
    assert "@media (max-width: 480px)" in one(tree, "style").text()
    assert "max-width: 600px" in (one(tree, ".column").attributes["style"] or "")
    assert all(node.attributes.get("style") for node in tree.css("td, th, h1, a"))
    assert all(table.attributes.get("role") == "presentation" or table.css("th") for table in tree.css("table"))
    assert tree.css("script, link, img, iframe, form, object, [src], [background]") == []
    assert "url(" not in body.html
    assert one(tree, ".preheader").text().strip()


def test_a_verification_mail_has_the_link_the_code_and_the_end() -> None:
    assert links(VERIFY) == {"http://127.0.0.1:8000/verify-email?token=abc"}
    assert "\nhttp://127.0.0.1:8000/verify-email?token=abc\n" in text(VERIFY)
    assert "\nabc\n" in text(VERIFY)
    for words in (shown(VERIFY), text(VERIFY)):
        assert "Hello Ada," in words
        assert "Sunday, 1 March 2026, 23:30 (UTC)" in words


def test_an_owner_is_told_that_the_address_has_an_account() -> None:
    assert links(AGAIN) == {"http://127.0.0.1:8000/login"}
    for words in (shown(AGAIN), text(AGAIN)):
        assert "You already have an account" in words
        assert "http://127.0.0.1:8000/login" in words


def test_the_same_content_gives_the_same_mail() -> None:
    assert RENDERER.render(ALERT) == JinjaMailRenderer().render(ALERT)
