"""Everything a monitor's body can be wrong in: answered with the field, and nothing is stored."""

import json
from typing import Any
from uuid import UUID

import pytest

from tests.api.people import SHOP, Installation, Json, Person, wish

FACT = {"name": "price", "type": "number", "select": {"jsonpath": "$.price"}}


def source(**changes: object) -> list[Json]:
    return [{"type": "http", "url": SHOP, **changes}]


def fact(**changes: object) -> list[Json]:
    return [{**FACT, **changes}]


def selected(**select: object) -> list[Json]:
    return fact(select=select)


@pytest.fixture(scope="module")
async def eve(installation: Installation) -> Person:
    """Somebody whose every wish is refused."""
    return await installation.person()


@pytest.fixture(scope="module")
async def kept(eve: Person) -> Json:
    """The one monitor of hers that was taken."""
    made = await eve.monitor(name="Kept")
    read: Json = await eve.gets("GET", f"/monitors/{made['id']}")
    return read


WRONG: dict[str, tuple[Json, str, str]] = {
    # the prompt and the name
    "no prompt": ({"prompt": None}, "prompt", "required"),
    "empty prompt": ({"prompt": ""}, "prompt", "3 to 2000"),
    "short prompt": ({"prompt": " ab "}, "prompt", "3 to 2000"),
    "short prompt that has to be compiled": ({"prompt": "ab", "facts": None, "condition": None}, "prompt", "3 to 2000"),
    "long prompt": ({"prompt": "x" * 2001}, "prompt", "3 to 2000"),
    "long prompt that has to be compiled": (
        {"prompt": "x" * 100_000, "facts": None, "condition": None},
        "prompt",
        "3 to 2000",
    ),
    "empty name": ({"name": ""}, "name", "1 to 120"),
    "blank name": ({"name": "   "}, "name", "1 to 120"),
    "long name": ({"name": "x" * 121}, "name", "1 to 120"),
    "name of two lines": ({"name": "a\nBcc: eve@example.org"}, "name", "printable"),
    # the sources
    "no sources": ({"sources": None}, "sources", "1 to 10 sources"),
    "empty sources": ({"sources": []}, "sources", "1 to 10 sources"),
    "eleven sources": ({"sources": source() * 11}, "sources", "1 to 10"),
    "no url": ({"sources": [{"type": "http"}]}, "sources[0].url", "required"),
    "not a url": ({"sources": source(url="the shop")}, "sources[0].url", "no spaces"),
    "empty url": ({"sources": source(url="")}, "sources[0].url", "http"),
    "file": ({"sources": source(url="file:///etc/passwd")}, "sources[0].url", "http and https"),
    "gopher": ({"sources": source(url="gopher://shop.example/")}, "sources[0].url", "http and https"),
    "javascript": ({"sources": source(url="javascript:alert(1)")}, "sources[0].url", "http and https"),
    "private address": ({"sources": source(url="http://10.0.0.1/")}, "sources[0].url", "private network"),
    "cloud metadata": ({"sources": source(url="http://169.254.169.254/latest/")}, "sources[0].url", "metadata"),
    "decimal address": ({"sources": source(url="http://167772161/")}, "sources[0].url", "usual form"),
    "private address of version 6": ({"sources": source(url="http://[fd00:ec2::254]/")}, "sources[0].url", "private"),
    "user in the url": ({"sources": source(url="http://user:pw@shop.example/")}, "sources[0].url", ""),
    "wrong second source": ({"sources": [*source(), *source(url="ftp://x/")]}, "sources[1].url", "http and https"),
    "private feed": ({"sources": [{"type": "feed", "url": "http://10.0.0.1/"}]}, "sources[0].url", "private network"),
    "no type": ({"sources": [{"url": SHOP}]}, "sources[0].type", "required"),
    "unknown type": ({"sources": source(type="ftp")}, "sources[0].type", "ftp"),
    "unknown field of a source": ({"sources": source(method="POST")}, "sources[0].method", "unknown there is no field 'method'; known are: headers, render, select, type, url"),
    "feed with a selector": (
        {"sources": [{"type": "feed", "url": SHOP, "select": {"css": "p"}}]},
        "sources[0].select",
        "unknown there is no field 'select'; known are: type, url",
    ),
    "header that breaks out": ({"sources": source(headers={"X-A": "a\r\nHost: b"})}, "sources[0].headers.X-A", ""),
    "header of Vigil's": ({"sources": source(headers={"Host": "b"})}, "sources[0].headers.Host", "leave it out"),
    "name that is no header": ({"sources": source(headers={"A B": "c"})}, "sources[0].headers", "header"),
    "selector of a source": ({"sources": source(select={"css": "p["})}, "sources[0].select.css", "css"),
    # the facts
    "empty facts": ({"facts": []}, "facts", "1 to 20"),
    "twenty-one facts": ({"facts": [{**FACT, "name": f"f{i}"} for i in range(21)]}, "facts", "1 to 20"),
    "two facts of one name": ({"facts": fact() * 2}, "facts[1].name", "two facts"),
    "a name that is no name": ({"facts": fact(name="a-b"), "condition": "1 < 2"}, "facts[0].name", "a-b"),
    "long name of a fact": ({"facts": fact(name="x" * 65)}, "facts[0].name", "up to 64"),
    "long unit": ({"facts": fact(unit="x" * 41)}, "facts[0].unit", "at most 40"),
    "long description": ({"facts": fact(description="x" * 501)}, "facts[0].description", "at most 500"),
    "unknown type of fact": ({"facts": fact(type="money")}, "facts[0].type", "money"),
    "unknown selector kind": ({"facts": selected(sql="select 1")}, "facts[0].select.sql", "known are: "),
    "two selectors": ({"facts": selected(css="p", xpath="//p")}, "facts[0].select", "one of"),
    "broken css": ({"facts": selected(css="p[")}, "facts[0].select.css", "CSS selector"),
    "broken xpath": ({"facts": selected(xpath="//p[")}, "facts[0].select.xpath", "XPath"),
    "broken jsonpath": ({"facts": selected(jsonpath="$.[")}, "facts[0].select.jsonpath", "JSONPath"),
    "broken regex": ({"facts": selected(regex="(")}, "facts[0].select.regex", "RE2"),
    "regex with look-around": ({"facts": selected(regex="(?=a)b")}, "facts[0].select.regex", "RE2"),
    "unknown field of a feed": ({"facts": selected(feed="colour")}, "facts[0].select.feed", "colour"),
    "unknown row": ({"facts": selected(csv="price", csv_row="middle")}, "facts[0].select.csv_row", "first or last"),
    "empty selector": ({"facts": selected(css="")}, "facts[0].select.css", "1 to 1000"),
    "long selector": ({"facts": selected(css="p" * 1001)}, "facts[0].select.css", "1 to 1000"),
    # the condition
    "condition that does not compile": ({"condition": "price <"}, "condition", "^"),
    "condition with a type error": ({"condition": 'price < "fifty"'}, "condition", "^"),
    "condition of another type": ({"condition": "price + 1.0"}, "condition", "yes or no"),
    "condition with an unknown fact": ({"condition": "weight < 50.0"}, "condition", "weight"),
    "condition with an unknown function": ({"condition": "eval(price)"}, "condition", "eval"),
    "empty condition": ({"condition": ""}, "condition", ""),
    "condition that is always so": ({"condition": "true"}, "condition", "Refer to a fact; the facts are: price (number)"),
    "condition over no fact": ({"condition": "1 < 2 && !false"}, "condition", "refers to no fact"),
    "resetting condition that is never so": ({"reset_condition": "false"}, "reset_condition", "refers to no fact"),
    "temporal function of another type": (
        {"facts": fact(type="text"), "condition": 'decreased_by(price, 0.1, "P7D")'},
        "condition",
        "number",
    ),
    "window that is none": ({"condition": 'min_over(price, "P1M") < 1.0'}, "condition", "differ in length"),
    "condition over other facts than the prompt tells": ({"facts": None, "condition": "weight < 5.0"}, "condition", "give facts too"),
    # the schedule
    "cron that is never due": ({"schedule": {"cron": "0 0 30 2 *"}}, "schedule.cron", "ever due"),
    "cron that is no line": ({"schedule": {"cron": "every day"}}, "schedule.cron", "five fields"),
    "cron of seconds": ({"schedule": {"cron": "* * * * * *"}}, "schedule.cron", "five fields"),
    "cron with a long number": ({"schedule": {"cron": "0" * 5000 + " * * * *"}}, "schedule.cron", "200 characters"),
    "empty cron": ({"schedule": {"cron": ""}}, "schedule.cron", "five fields"),
    "unknown time zone": ({"schedule": {"cron": "0 8 * * *", "timezone": "Middle/Earth"}}, "schedule.timezone", "IANA"),
    "empty time zone": ({"schedule": {"cron": "0 8 * * *", "timezone": ""}}, "schedule.timezone", "IANA"),
    "interval that is too short": ({"schedule": {"every": "PT59S"}}, "schedule.every", "60 s"),
    "no interval": ({"schedule": {"every": "PT0S"}}, "schedule.every", "60 s"),
    "interval into the past": ({"schedule": {"every": "-PT5M"}}, "schedule.every", "60 s"),
    "interval of decades": ({"schedule": {"every": "P1000000D"}}, "schedule.every", "366 days"),
    "interval beyond all calendars": ({"schedule": {"every": f"P{'9' * 400}D"}}, "schedule.every", "ISO 8601"),
    "interval of a month": ({"schedule": {"every": "P1M"}}, "schedule.every", "ISO 8601"),
    "interval in words": ({"schedule": {"every": "5 minutes"}}, "schedule.every", "ISO 8601"),
    "interval with a fraction": ({"schedule": {"every": "PT90.5S"}}, "schedule.every", "whole seconds"),
    "both every and cron": ({"schedule": {"every": "PT5M", "cron": "0 8 * * *"}}, "schedule", "either every or cron"),
    "neither every nor cron": ({"schedule": {}}, "schedule", "either every or cron"),
    "interval with a time zone": ({"schedule": {"every": "PT5M", "timezone": "UTC"}}, "schedule.timezone", "cron only"),
    "unknown field of a schedule": ({"schedule": {"at": "08:00"}}, "schedule.at", "unknown there is no field 'at'; known are: cron, every, timezone"),
    # the numbers
    "no confirmation": ({"confirmations": 0}, "confirmations", "1 to 10"),
    "eleven confirmations": ({"confirmations": 11}, "confirmations", "1 to 10"),
    "a huge number of confirmations": ({"confirmations": 10**30}, "confirmations", "1 to 10"),
    "confidence below nothing": ({"min_confidence": -0.1}, "min_confidence", "0 to 1"),
    "confidence above everything": ({"min_confidence": 1e308}, "min_confidence", "0 to 1"),
    # what nobody may set
    "unknown field": ({"colour": "red"}, "colour", "known are"),
    "owner": ({"owner_id": "0" * 32}, "owner_id", "known are"),
    "state": ({"state": "active"}, "state", "known are"),
    # the types of all fields
    "a source of a kind that is not known": ({"sources": [{"type": "ftp", "url": "ftp://a"}]}, "sources[0].type", "known are: feed, http"),
    "a fact of a type that is not known": ({"facts": [{"name": "price", "type": "colour"}]}, "facts[0].type", "known are: boolean, list, number, text, timestamp"),
    "prompt of another type": ({"prompt": 5}, "prompt", "expected text, got a whole number"),
    "name of another type": ({"name": ["a"]}, "name", "got a list"),
    "sources of another type": ({"sources": {}}, "sources", "got an object"),
    "source of another type": ({"sources": [SHOP]}, "sources[0]", "got text"),
    "url of another type": ({"sources": [*source(), *source(url=5)]}, "sources[1].url", "got a whole number"),
    "headers of another type": ({"sources": source(headers={"X-A": 5})}, "sources[0].headers[]", "got a whole number"),
    "facts of another type": ({"facts": "price"}, "facts", "got text"),
    "fact of another type": ({"facts": ["price"]}, "facts[0]", "got text"),
    "select of another type": ({"facts": fact(select="$.price")}, "facts[0].select", "got text"),
    "selector of another type": ({"facts": selected(css=5)}, "facts[0].select.css", "got a whole number"),
    "fact without a name": ({"facts": [{"type": "number"}]}, "facts[0].name", "required"),
    "condition of another kind": ({"condition": True}, "condition", "got true or false"),
    "schedule of another type": ({"schedule": "PT5M"}, "schedule", "got text"),
    "every of another type": ({"schedule": {"every": 300}}, "schedule.every", "got a whole number"),
    "number as a text": ({"confirmations": "3"}, "confirmations", "got text"),
    "number as a truth": ({"confirmations": True}, "confirmations", "got true or false"),
    "half a confirmation": ({"confirmations": 1.5}, "confirmations", "got a number"),
    "confidence as a text": ({"min_confidence": "0.5"}, "min_confidence", "got text"),
    "unknown way to fire": ({"fires": "always"}, "fires", "always"),
    # characters that cannot be stored
    "NUL in the prompt": ({"prompt": "abc\0def"}, "prompt", "NUL"),
    "NUL in the name": ({"name": "abc\0def"}, "name", "NUL"),
    "NUL in a description": ({"facts": fact(description="a\0")}, "facts[0].description", "NUL"),
    "NUL in a unit": ({"facts": fact(unit="\0")}, "facts[0].unit", "NUL"),
    "NUL in a url": ({"sources": [*source(), *source(url=SHOP + "\0")]}, "sources[1].url", "NUL"),
    "NUL in a header": ({"sources": source(headers={"X-A": "\0"})}, "sources[0].headers.X-A", "NUL"),
    "NUL in the condition": ({"condition": "price < 50.0\0"}, "condition", "NUL"),
    "NUL in the time zone": ({"schedule": {"cron": "0 8 * * *", "timezone": "UTC\0"}}, "schedule.timezone", "NUL"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
async def test_what_is_wrong_is_named_and_nothing_is_stored(eve: Person, kept: Json, case: str) -> None:
    changes, field, words = WRONG[case]
    body = wish(**changes)
    before = await eve.installation.stored(eve.user_id)
    wholes = [("POST", "/monitors"), ("PUT", f"/monitors/{kept['id']}"), ("POST", "/monitors/preview")]
    for method, path in wholes:
        error = await eve.is_refused(method, path, body, status=400)
        assert error["code"] == "VALIDATION_ERROR"
        assert [detail["field"] for detail in error["details"]] == [field]
        told = " ".join([error["message"], *(f"{d['issue']} {d['message']}" for d in error["details"])])
        assert words in told
        assert "\n" not in error["message"] or "^" in told
    assert await eve.installation.stored(eve.user_id) == before
    assert await eve.gets("GET", f"/monitors/{kept['id']}") == kept


PATCHES = [case for case, (changes, *_) in WRONG.items() if None not in changes.values() and "sources" not in case]


@pytest.mark.parametrize("case", PATCHES)
async def test_a_part_that_is_wrong_is_refused_as_the_whole_is(eve: Person, kept: Json, case: str) -> None:
    changes, field, _ = WRONG[case]
    before = await eve.installation.stored(eve.user_id)
    path = f"/monitors/{kept['id']}"
    for method, where in (("PATCH", path), ("POST", f"{path}/fork")):
        error = await eve.is_refused(method, where, changes, status=400)
        assert (error["code"], [detail["field"] for detail in error["details"]]) == ("VALIDATION_ERROR", [field])
    assert await eve.installation.stored(eve.user_id) == before
    assert await eve.gets("GET", path) == kept


@pytest.mark.parametrize("case", WRONG)
async def test_what_is_wrong_is_found_wrong_without_an_attempt_to_store_it(eve: Person, kept: Json, case: str) -> None:
    """In the same field and words as it is refused; what is of a wrong type is refused here, too."""
    changes, field, words = WRONG[case]
    before = await eve.installation.stored(eve.user_id)
    bodies = [("/monitors/validate", wish(**changes), words)]
    bodies += [(f"/monitors/{kept['id']}/validate", changes, "")] if case in PATCHES else []
    for path, body, told in bodies:
        response = await eve.asks("POST", path, body)
        answer = response.json()
        details = answer["data"]["details"] if response.status_code == 200 else answer["error"]["details"]
        assert field in [detail["field"] for detail in details]
        assert told in " ".join(f"{detail['issue']} {detail['message']}" for detail in details)
        assert response.status_code == 400 or (answer["data"]["valid"], answer["data"]["plan"]) == (False, None)
    assert await eve.installation.stored(eve.user_id) == before


async def test_every_field_of_a_wrong_type_is_listed(eve: Person) -> None:
    body = {
        "name": 5,
        "sources": [{"type": "http", "url": 1}],
        "schedule": "PT5M",
        "condition": [],
        "facts": {},
        "confirmations": "3",
        "min_confidence": None,
        "fires": 1,
        "colour": "red",
    }
    error = await eve.is_refused("POST", "/monitors", body, status=400)
    assert {detail["field"]: detail["issue"] for detail in error["details"]} == {
        "colour": "unknown",
        "prompt": "required",
        "name": "invalid",
        "sources[0].url": "invalid",
        "schedule": "invalid",
        "condition": "invalid",
        "facts": "invalid",
        "confirmations": "invalid",
        "min_confidence": "invalid",
        "fires": "invalid",
    }
    assert all(detail["message"] for detail in error["details"])


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({"sources": [{"url": "https://example.org/"}]}, "sources[0].type", "one of feed, http, search, signal"),
        ({"facts": [{"name": "price"}]}, "facts[0].type", "one of boolean, list, number, text, timestamp"),
        ({"sources": [{"type": "signal", "id": "mine"}]}, "sources[0].id", "not an id"),
        ({"sources": [{"type": "http", "url": "example.org"}]}, "sources[0].url", "such as https://"),
    ],
)
async def test_what_is_missing_or_malformed_is_told_with_what_would_do(
    eve: Person, body: Json, field: str, words: str
) -> None:
    error = await eve.is_refused("POST", "/monitors", wish(**body), status=400)
    assert [detail["field"] for detail in error["details"]] == [field]
    assert words in error["details"][0]["message"]


async def test_a_time_that_is_none_is_told_with_one_that_is(eve: Person) -> None:
    error = await eve.is_refused("GET", f"/monitors/{UUID(int=1)}?as_of=yesterday", status=400)
    assert "2026-01-31T08:00:00Z" in error["details"][0]["message"]


async def test_a_mistake_in_a_condition_is_pointed_at(eve: Person) -> None:
    error = await eve.is_refused("POST", "/monitors", wish(condition='price < "fifty"'), status=400)
    lines = error["details"][0]["message"].splitlines()
    caret = next(i for i, line in enumerate(lines) if line.strip().startswith("^") or line.rstrip().endswith("^"))
    assert lines[caret - 1][lines[caret].index("^")] == "<", lines


@pytest.mark.parametrize(
    "prompt",
    ["Sing me a song", "price", "?????", "日本語で教えて", "Tell me when", "'; drop table event; --"],
)
async def test_a_prompt_that_no_rule_reads_is_told_apart_from_a_malformed_one(eve: Person, prompt: str) -> None:
    before = await eve.installation.stored(eve.user_id)
    error = await eve.is_refused("POST", "/monitors", wish(prompt=prompt, facts=None, condition=None), status=422)
    assert error["code"] == "PROMPT_NOT_UNDERSTOOD"
    assert error["details"][0]["field"] == "prompt"
    assert await eve.installation.stored(eve.user_id) == before


BODIES: dict[str, tuple[bytes, str | None]] = {
    "nothing": (b"", "type"),
    "null": (b"null", "type"),
    "a list": (b"[]", "type"),
    "a text": (b'"watch this"', "type"),
    "a number": (b"5", "type"),
    "half an object": (b'{"prompt": "abc"', None),
    "two objects": (b"{}{}", None),
    "single quotes": (b"{'prompt': 'abc'}", None),
    "not a number": (b'{"prompt": "abc", "min_confidence": NaN}', None),
    "infinity": (b'{"prompt": "abc", "min_confidence": Infinity}', None),
    "a number beyond doubles": (b'{"prompt": "abc", "min_confidence": 1e400}', None),
    "a number of many digits": (b'{"prompt": "abc", "confirmations": ' + b"9" * 5000 + b"}", None),
    "half a surrogate pair": (b'{"prompt": "abc\\ud800def"}', None),
    "the other half": (b'{"prompt": "abc\\udc00def"}', None),
    "half a pair as a name": (b'{"\\ud800": 1}', None),
    "no UTF-8": (b'{"prompt": "abc\xff"}', None),
    "UTF-16": ('{"prompt": "abc"}'.encode("utf-16"), None),
    "a byte order mark": (b'\xef\xbb\xbf{"prompt": "abc"}', None),
    "deeply nested lists": (b"[" * 100_000, "depth"),
    "deeply nested objects": (b'{"a":' * 20_000 + b"1" + b"}" * 20_000, "depth"),
    "deeply nested in a field": (b'{"prompt":' + b"[" * 50_000 + b"]" * 50_000 + b"}", "depth"),
}


@pytest.mark.parametrize("case", BODIES)
@pytest.mark.parametrize("path", ["/monitors", "/actions", "/triggers"])
async def test_a_body_that_is_no_object_of_json_is_refused(eve: Person, case: str, path: str) -> None:
    content, issue = BODIES[case]
    before = await eve.installation.stored(eve.user_id)
    headers = {"Content-Type": "application/json"}
    error = await eve.is_refused("POST", path, status=400, content=content, headers=headers)
    assert error["code"] == "VALIDATION_ERROR"
    assert [(detail["field"], detail["issue"]) for detail in error["details"]] == ([(None, issue)] if issue else [])
    assert issue or "JSON" in error["message"]
    assert await eve.installation.stored(eve.user_id) == before


@pytest.mark.parametrize(
    ("case", "where"),
    [
        ("half an object", "input data was truncated"),
        ("two objects", "trailing characters (byte 3)"),
        ("single quotes", "object keys must be strings (byte 1)"),
        ("not a number", "invalid character (byte 36)"),
        ("a number beyond doubles", "number out of range"),
        ("a byte order mark", "invalid character (byte 0)"),
        ("no UTF-8", "it is not UTF-8"),
    ],
)
async def test_a_body_that_is_no_json_is_told_where_it_stops_being_some(eve: Person, case: str, where: str) -> None:
    headers = {"Content-Type": "application/json"}
    error = await eve.is_refused("POST", "/monitors", status=400, content=BODIES[case][0], headers=headers)
    assert error["message"] == f"the body is not valid JSON (RFC 8259): {where}"


async def test_a_value_nested_as_deep_as_can_be_read_is_just_of_the_wrong_type(eve: Person) -> None:
    deep: Any = []
    for _ in range(300):
        deep = [deep]
    error = await eve.is_refused("POST", "/monitors", wish(prompt=deep), status=400)
    assert error["details"][0]["message"] == "expected text, got a list"


@pytest.mark.parametrize("media_type", ["text/plain", "application/xml", "application/x-www-form-urlencoded"])
async def test_a_body_of_another_type_is_refused(eve: Person, media_type: str) -> None:
    """Also when it would read as JSON: forms of foreign pages can send these types (OWASP CSRF Prevention)."""
    before = await eve.installation.stored(eve.user_id)
    content = json.dumps(wish(name="Other type"))
    error = await eve.is_refused("POST", "/monitors", status=415, content=content, headers={"Content-Type": media_type})
    assert error["code"] == "UNSUPPORTED_MEDIA_TYPE"
    assert "application/json" in error["message"]
    assert await eve.installation.stored(eve.user_id) == before


@pytest.mark.parametrize("declared", [True, False], ids=["with a length", "in pieces"])
async def test_a_body_that_is_too_large_is_refused(eve: Person, declared: bool) -> None:  # noqa: FBT001  a parameter
    body = json.dumps(wish(prompt="x" * 300_000)).encode()

    async def pieces() -> Any:  # noqa: ANN401  an async generator
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    headers = {"Content-Type": "application/json"}
    content = body if declared else pieces()
    error = await eve.is_refused("POST", "/monitors", status=413, content=content, headers=headers)
    assert error["code"] == "BODY_TOO_LARGE"
