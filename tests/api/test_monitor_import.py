"""Importing monitors: addresses, Vigil's own export, and backups of changedetection.io."""

import asyncio
import io
import json
import struct
import zipfile
from contextlib import suppress
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands import backup_file
from commands.backup_file import read_backup
from commands.changedetection import entries_of_backup
from commands.import_formats import entries_of_export, entries_of_lines
from commands.monitor_copies import ENTRIES_MAX, spread
from domain.errors import InvalidInput
from domain.schedule import Cron, Every
from tests.api.conftest import MONITOR_LIMIT
from tests.api.people import Json, Person, wish

KEY = {"Idempotency-Key": "b7c9-1"}
ZIP = {"Content-Type": "application/zip"}
IDS = [f"{n:08x}-0000-4000-8000-000000000000" for n in range(9)]


def watch(**changes: object) -> Json:
    """A watch as changedetection.io 0.50 keeps it, what it has seen left out."""
    return {
        "url": "http://127.0.0.1/page",
        "title": None,
        "paused": False,
        "include_filters": [],
        "subtractive_selectors": [],
        "trigger_text": [],
        "headers": {},
        "method": "GET",
        "body": None,
        "processor": "text_json_diff",
        "fetch_backend": "system",
        "filter_text_added": True,
        "tags": [],
        "notification_urls": [],
        "time_between_check": {"weeks": None, "days": None, "hours": None, "minutes": None, "seconds": None},
        "time_between_check_use_default": True,
        "time_schedule_limit": {"enabled": False},
        "uuid": IDS[0],
        "history_n": 3,
        **changes,
    }


def zipped(files: dict[str, object], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression=method) as archive:
        for name, document in files.items():
            archive.writestr(name, document if isinstance(document, bytes | str) else json.dumps(document))
    return content.getvalue()


def index(*watches: Json, **settings: object) -> Json:
    return {"watching": {IDS[i]: one for i, one in enumerate(watches)}, "settings": settings}


async def imported(person: Person, content: bytes, *, query: str = "", **headers: str) -> Json:
    answer: Json = await person.gets(
        "POST", f"/monitors/import/changedetection{query}", content=content, headers={**ZIP, **headers}
    )
    return answer


def entry(document: Json, **options: Any) -> Any:  # noqa: ANN401  see below
    """The one entry of a backup with this watch."""
    backup = read_backup(json.dumps(index(document, **options)).encode())
    (one,) = entries_of_backup(backup, interval_seconds_min=60, paused=False)
    return one


# Addresses


async def test_each_address_becomes_a_monitor_of_the_text_behind_it(ada: Person) -> None:
    urls = ["http://127.0.0.1/a", "http://127.0.0.1/b"]
    answer = await ada.gets("POST", "/monitors/import", {"format": "urls", "urls": urls, "schedule": {"every": "PT2H"}})
    assert (answer["created"], answer["refused"], answer["warnings"]) == (2, 0, [])
    assert [one["entry"] for one in answer["entries"]] == ["urls[0]", "urls[1]"]
    for url, one in zip(urls, answer["entries"], strict=True):
        made = await ada.gets("GET", f"/monitors/{one['id']}")
        assert made["name"] == one["name"] == url.removeprefix("http://")
        assert made["prompt"] == f"Tell me when {url} changes"
        assert (made["condition"], made["fires"], made["kind"]) == (
            "changed(content)",
            "each_time",
            "historical_change",
        )
        assert made["sources"] == [{"type": "http", "url": url}]
        assert made["schedule"] == {"every": "PT2H"}


async def test_a_text_of_addresses_is_read_line_by_line(ada: Person) -> None:
    text = "# shops\nhttp://127.0.0.1/a\n\n  http://127.0.0.1/b  news, shops \r\nhttp://127.0.0.1/a\nnot an address\n"
    answer = await ada.gets("POST", "/monitors/import", {"format": "urls", "urls": text})
    a, b, again, wrong = answer["entries"]
    assert (answer["created"], answer["refused"]) == (2, 2)
    assert (a["entry"], a["warnings"], a["code"]) == ("urls[1]", [], None)
    assert (b["entry"], b["warnings"]) == ("urls[3]", ["'news, shops' behind the address is not taken over"])
    assert (again["id"], again["code"], again["details"][0]["message"]) == (
        None,
        "VALIDATION_ERROR",
        "the same address as urls[1]",
    )
    assert (wrong["id"], wrong["details"][0]["field"]) == (None, "sources[0].url")


async def test_the_limit_of_active_monitors_holds_and_what_is_paused_needs_no_place(ada: Person) -> None:
    urls = [f"http://127.0.0.1/{i}" for i in range(MONITOR_LIMIT + 2)]
    answer = await ada.gets("POST", "/monitors/import", {"format": "urls", "urls": urls})
    assert (answer["created"], answer["refused"]) == (MONITOR_LIMIT, 2)
    assert {one["code"] for one in answer["entries"] if one["id"] is None} == {"MONITOR_LIMIT_EXCEEDED"}
    answer = await ada.gets("POST", "/monitors/import", {"format": "urls", "urls": urls, "paused": True})
    assert (answer["created"], answer["refused"]) == (len(urls), 0)
    assert all(one["paused"] for one in answer["entries"])
    assert answer["entries"][0]["name"] == "127.0.0.1/0 (2)", "a taken name gets a number"
    paused = await ada.gets("GET", "/monitors?status=paused")
    assert {(one["next_due_at"], one["version"]) for one in paused} == {(None, 2)}


async def test_first_evaluations_are_spread_over_the_interval(ada: Person) -> None:
    urls = [f"http://127.0.0.1/{i}" for i in range(MONITOR_LIMIT)]
    await ada.gets("POST", "/monitors/import", {"format": "urls", "urls": urls, "schedule": {"every": "PT30M"}})
    listed = await ada.gets("GET", "/monitors?sort=created_at:asc")
    waits = [
        (datetime.fromisoformat(one["next_due_at"]) - datetime.fromisoformat(one["created_at"])).total_seconds()
        for one in listed
    ]
    assert waits == [1800 * i / MONITOR_LIMIT for i in range(MONITOR_LIMIT)]


@given(seconds=st.integers(1, 31_622_400), of=st.integers(1, ENTRIES_MAX))
def test_the_first_look_waits_less_than_an_interval_and_never_more_than_an_hour(seconds: int, of: int) -> None:
    waits = [spread(Every(seconds=seconds), i, of).total_seconds() for i in {0, of // 2, of - 1}]
    assert waits[0] >= 0
    assert all(0 <= wait < min(seconds, 3600) for wait in waits)
    assert spread(Cron(line="0 8 * * *"), of - 1, of).total_seconds() < 3600


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "format"),
        ({"format": "csv"}, "format"),
        ({"format": "urls"}, "urls"),
        ({"format": "vigil"}, "monitors"),
        ({"format": "urls", "urls": ["http://127.0.0.1/"], "monitors": []}, "monitors"),
        ({"format": "vigil", "monitors": [], "urls": []}, "urls"),
        ({"format": "urls", "urls": ["x"] * (ENTRIES_MAX + 1)}, "urls"),
        ({"format": "vigil", "monitors": [{}] * (ENTRIES_MAX + 1)}, "monitors"),
        ({"format": "urls", "urls": [5]}, "urls[0]"),
        ({"format": "vigil", "monitors": "all"}, "monitors"),
        ({"format": "urls", "urls": [], "colour": "red"}, "colour"),
    ],
)
async def test_an_import_that_is_none_is_refused_as_a_whole(ada: Person, body: Json, field: str) -> None:
    before = await ada.installation.stored(ada.user_id)
    error = await ada.is_refused("POST", "/monitors/import", body, status=400)
    assert [detail["field"] for detail in error["details"]] == [field]
    assert await ada.installation.stored(ada.user_id) == before


# Idempotency


async def test_an_import_that_is_sent_again_creates_nothing_twice(ada: Person) -> None:
    body = {"format": "urls", "urls": ["http://127.0.0.1/a", "nonsense", "http://127.0.0.1/b"]}
    first = await ada.gets("POST", "/monitors/import", body, headers=KEY)
    stored = await ada.installation.stored(ada.user_id)
    await ada.gets("DELETE", f"/monitors/{first['entries'][0]['id']}", expect=204)
    again = await ada.asks("POST", "/monitors/import", body, headers=KEY)
    assert (again.json()["data"], again.headers["Idempotency-Replayed"]) == (first, "true")
    after = await ada.installation.stored(ada.user_id)
    assert after["events"] == stored["events"] + 1, "the deletion"
    error = await ada.is_refused("POST", "/monitors/import", {**body, "paused": True}, status=422, headers=KEY)
    assert error["code"] == "IDEMPOTENCY_KEY_REUSED"


async def test_an_import_that_broke_off_goes_on_where_it_was(ada: Person) -> None:
    """As after a crash between two entries: what was created is kept, the answer is not."""
    body = {"format": "urls", "urls": [f"http://127.0.0.1/{i}" for i in range(3)]}
    first = await ada.gets("POST", "/monitors/import", body, headers=KEY)
    async with ada.installation.parts.pool.connection() as connection:
        whole = "delete from command_receipt where owner_id = %s and command_id = %s"
        await connection.execute(whole, (ada.user_id, KEY["Idempotency-Key"]))
    events = (await ada.installation.stored(ada.user_id))["events"]
    again = await ada.gets("POST", "/monitors/import", body, headers=KEY)
    assert again == first
    assert (await ada.installation.stored(ada.user_id))["events"] == events


async def test_the_same_import_at_the_same_moment_is_done_once(ada: Person) -> None:
    body = {"format": "urls", "urls": ["http://127.0.0.1/a", "http://127.0.0.1/b"]}
    answers = await asyncio.gather(*(ada.asks("POST", "/monitors/import", body, headers=KEY) for _ in range(4)))
    assert {answer.status_code for answer in answers} == {200}, [answer.text for answer in answers]
    assert len({json.dumps(answer.json()["data"]) for answer in answers}) == 1
    assert len(await ada.gets("GET", "/monitors")) == 2


async def test_what_was_imported_can_be_read_at_the_position_that_was_answered(ada: Person) -> None:
    response = await ada.asks("POST", "/monitors/import", {"format": "urls", "urls": ["http://127.0.0.1/a"]})
    at = {"Vigil-Min-Position": response.headers["Vigil-Position"]}
    assert len(await ada.gets("GET", "/monitors", headers=at)) == 1


# Vigil's own export


async def test_one_entry_that_is_wrong_keeps_none_of_the_others_away(ada: Person) -> None:
    monitors = [
        wish(name="A"),
        wish(name="B", condition='price < "x"'),
        {"prompt": 5, "colour": "red"},
        wish(name="C", schedule={"every": "PT1S"}),
        wish(name="D", schedule={"every": "5 minutes"}),
        wish(name="a"),
        {},
    ]
    answer = await ada.gets("POST", "/monitors/import", {"format": "vigil", "monitors": monitors})
    told = [(one["name"], sorted(detail["field"] for detail in one["details"])) for one in answer["entries"]]
    assert told == [
        ("A", []),
        (None, ["condition"]),
        (None, ["colour", "prompt"]),
        (None, ["schedule.every"]),
        (None, ["schedule.every"]),
        ("a (2)", []),
        (None, ["prompt"]),
    ]
    assert "^" in answer["entries"][1]["details"][0]["message"]
    assert (answer["created"], answer["refused"]) == (2, 5)
    assert len(await ada.gets("GET", "/monitors")) == 2


async def test_what_is_imported_again_gets_the_next_free_numbers_and_no_second_ones(ada: Person) -> None:
    export: Json = {"format": "vigil", "paused": True}
    export["monitors"] = [wish(name=name) for name in ("Kettle", "Kettle (2)", "kettle (7)")]
    imports = [await ada.gets("POST", "/monitors/import", export) for _ in range(3)]
    assert [[one["name"] for one in each["entries"]] for each in imports] == [
        ["Kettle", "Kettle (2)", "kettle (7)"],
        ["Kettle (3)", "Kettle (4)", "kettle (8)"],
        ["Kettle (5)", "Kettle (6)", "kettle (9)"],
    ]


# Backups of changedetection.io


async def test_a_backup_of_a_newer_version_becomes_monitors(ada: Person) -> None:
    first = watch(
        title="Kettle",
        url="http://127.0.0.1/kettle",
        include_filters=["#price", "xpath://h1"],
        headers={"Accept-Language": "de"},
        time_between_check={"weeks": None, "days": 1, "hours": "2", "minutes": None, "seconds": None},
        time_between_check_use_default=False,
    )
    content = zipped(
        {
            "changedetection.json": {"settings": {"requests": {"time_between_check": {"minutes": 30}}}},
            f"{IDS[0]}/watch.json": first,
            f"{IDS[1]}/watch.json": watch(paused=True, url="http://127.0.0.1/other"),
            f"{IDS[1]}/1700000000.txt": "what it saw",
            f"{IDS[2]}/tag.json": {"title": "a group"},
            "secret.txt": "of no use here",
        }
    )
    answer = await imported(ada, content)
    assert (answer["created"], answer["refused"], answer["warnings"]) == (2, 0, [])
    kettle, other = [await ada.gets("GET", f"/monitors/{one['id']}") for one in answer["entries"]]
    assert (kettle["name"], kettle["schedule"], kettle["status"]) == ("Kettle", {"every": "P1DT2H"}, "active")
    assert kettle["sources"] == [
        {"type": "http", "url": "http://127.0.0.1/kettle", "headers": {"Accept-Language": "de"}}
    ]
    assert [(fact["name"], fact["type"], fact["select"]) for fact in kettle["facts"]] == [
        ("content", "list", {"css": "#price"}),
        ("content_2", "list", {"xpath": "//h1"}),
    ]
    assert kettle["condition"] == "changed(content) || changed(content_2)"
    assert (other["name"], other["schedule"], other["status"]) == ("127.0.0.1/other", {"every": "PT30M"}, "paused")
    assert [fact["type"] for fact in other["facts"]] == ["text"]


@pytest.mark.parametrize("packed", [True, False], ids=["zipped", "alone"])
async def test_the_index_of_an_older_version_becomes_monitors(ada: Person, packed: bool) -> None:  # noqa: FBT001  a parameter
    document = index(
        watch(css_filter=".old", tag="news"), requests={"time_between_check": {"hours": 3}}, application={}
    )
    content = zipped({"url-watches.json": document}) if packed else json.dumps(document).encode()
    answer = await imported(ada, content, **({} if packed else {"Content-Type": "application/json"}))
    (one,) = answer["entries"]
    assert one["warnings"] == [
        "tag is not taken over: give the monitor a name that says it; what a group sets is not taken over"
    ]
    made = await ada.gets("GET", f"/monitors/{one['id']}")
    assert (made["facts"][0]["select"], made["schedule"]) == ({"css": ".old"}, {"every": "PT3H"})


@pytest.mark.parametrize(
    ("given", "select"),
    [
        (".price", {"css": ".price"}),
        ("css:.price", {"css": ".price"}),
        ("a:hover", {"css": "a:hover"}),
        ("/html/body", {"xpath": "/html/body"}),
        ("xpath:/html", {"xpath": "/html"}),
        ("xpath1://p", {"xpath": "//p"}),
        ("json:$.a.b", {"jsonpath": "$.a.b"}),
        ("jq:.a.b[0].c", {"jsonpath": "$.a.b[0].c"}),
        ("jq:.items[].name", {"jsonpath": "$.items[*].name"}),
        ("jqraw:.[0]", {"jsonpath": "$[0]"}),
        ("jq:.a | length", None),
    ],
)
def test_filters_become_selectors_of_their_language(given: str, select: Json | None) -> None:
    one = entry(watch(include_filters=[given]))
    (fact,) = one.wish.facts
    found = (
        None
        if fact.select is None
        else {name: text for name in ("css", "xpath", "jsonpath") if (text := getattr(fact.select, name))}
    )
    assert found == select
    assert one.paused == (select is None)
    assert bool(one.warnings) == (select is None)


@pytest.mark.parametrize(
    "changes",
    [
        {"trigger_text": ["sale"]},
        {"text_should_not_be_present": ["sold out"]},
        {"ignore_text": ["ads"]},
        {"extract_text": ["/[0-9]+/"]},
        {"subtractive_selectors": ["nav"]},
        {"conditions": [{"field": "page_filtered_text"}]},
        {"check_unique_lines": True},
        {"filter_text_added": False},
        {"browser_steps": [{"operation": "Click"}]},
        {"method": "POST"},
        {"body": "a=b"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_narrows_a_watch_and_cannot_be_taken_over_is_told_and_the_monitor_waits(changes: Json) -> None:
    one = entry(watch(**changes))
    assert one.paused
    assert one.warnings[0].startswith(next(iter(changes)))
    assert one.warnings[-1] == "so it is imported paused: look at it, then resume it"


@pytest.mark.parametrize(
    "changes",
    [
        {"notification_urls": ["mailto://x"]},
        {"tags": ["a"]},
        {"proxy": "p"},
        {"fetch_backend": "html_webdriver"},
        {"time_schedule_limit": {"enabled": True}},
        {"url": "source:http://127.0.0.1/"},
        {"processor": "restock_diff"},
        {"time_between_check": {"seconds": 5}, "time_between_check_use_default": False},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_else_cannot_be_taken_over_is_told(changes: Json) -> None:
    one = entry(watch(**changes))
    assert not one.paused
    assert len(one.warnings) == 1
    assert one.wish is not None


def test_settings_that_all_watches_share_and_that_are_lost_are_told_by_the_import() -> None:
    one = entry(watch(), requests={"time_between_check": {"weeks": 1}})
    assert one.wish.schedule == Every(seconds=604_800)


async def test_lost_settings_and_watches_that_are_none_are_told(ada: Person) -> None:
    document = index(
        watch(), watch(processor="image_ssim_diff"), {"title": "no address"}, watch(headers={"A": 1, "B": "x\0"}),
        application={"global_ignore_text": ["ads"]},
    )  # fmt: skip
    document["watching"]["x"] = "no watch"
    answer = await imported(ada, json.dumps(document).encode())
    assert answer["warnings"] == ["settings.application.global_ignore_text is not taken over"]
    assert [one["code"] for one in answer["entries"]] == [None, *["VALIDATION_ERROR"] * 4]
    assert (answer["created"], answer["refused"]) == (1, 4)


async def test_everything_can_be_imported_paused(ada: Person) -> None:
    answer = await imported(ada, zipped({f"{IDS[i]}/watch.json": watch() for i in range(5)}), query="?paused=true")
    assert (answer["created"], {one["paused"] for one in answer["entries"]}) == (5, {True})


async def test_a_backup_that_is_sent_again_creates_nothing_twice(ada: Person) -> None:
    content = zipped({f"{IDS[0]}/watch.json": watch()})
    assert await imported(ada, content, **KEY) == await imported(ada, content, **KEY)
    assert len(await ada.gets("GET", "/monitors")) == 1


def bomb(name: str, size: int) -> bytes:
    return zipped({name: b'{"watching": {}, "x": "' + b" " * size + b'"}'})


BROKEN: dict[str, bytes] = {
    "no zip": b"PK\3\4 and then nothing",
    "half a zip": zipped({"url-watches.json": index(watch())})[:-40],
    "nothing": b"",
    "no JSON": b"<html>",
    "a list": b"[]",
    "an index without watches": zipped({"url-watches.json": {"settings": {}}}),
    "a zip of other things": zipped({"readme.txt": "hello"}),
    "a watch that is no JSON": zipped({f"{IDS[0]}/watch.json": "{"}),
    "a file that inflates to far more": bomb("url-watches.json", backup_file.FILE_BYTES_MAX),
    "files that inflate to far more together": zipped(
        {f"{i:08x}-0000-4000-8000-000000000000/watch.json": b" " * (7 * 1024 * 1024) + b"{}" for i in range(6)}
    ),
    "too many watches": zipped({f"{i:08x}-0000-4000-8000-000000000000/watch.json": {} for i in range(ENTRIES_MAX + 1)}),
    "too many in the index": json.dumps({"watching": {str(i): {} for i in range(ENTRIES_MAX + 1)}}).encode(),
    "a method that takes memory": zipped({"url-watches.json": index(watch())}, method=zipfile.ZIP_LZMA),
    "deeply nested": b'{"watching": {"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
}


@pytest.mark.parametrize("case", BROKEN)
async def test_a_backup_that_is_none_is_refused_and_nothing_is_stored(ada: Person, case: str) -> None:
    before = await ada.installation.stored(ada.user_id)
    error = await ada.is_refused(
        "POST", "/monitors/import/changedetection", content=BROKEN[case], headers=ZIP, status=400
    )
    assert (error["code"], error["details"][0]["field"]) == ("VALIDATION_ERROR", "body")
    assert await ada.installation.stored(ada.user_id) == before


def test_what_is_neither_a_zip_nor_json_is_told_to_be_neither() -> None:
    with pytest.raises(InvalidInput, match=r"no zip.*url-watches\.json.*not JSON"):
        read_backup(b"<html>")


def test_a_table_of_contents_that_is_endless_is_not_read() -> None:
    honest = bytearray(zipped({"url-watches.json": index(watch())}))
    struct.pack_into("<L", honest, len(honest) - 10, backup_file.DIRECTORY_BYTES_MAX + 1)
    with pytest.raises(InvalidInput, match="more files"):
        read_backup(bytes(honest))
    plain = zipped({"url-watches.json": index(watch())})
    larger = plain[:-22] + b"PK\6\7" + b"\0" * 16 + plain[-22:]
    with pytest.raises(InvalidInput, match="more files"):
        read_backup(larger)


@pytest.mark.parametrize("case", [case for case in BROKEN if "inflate" in case])
def test_what_inflates_to_more_than_is_taken_is_told_so(case: str) -> None:
    with pytest.raises(InvalidInput, match=r"(url-watches|watch)\.json is larger than what one import takes"):
        read_backup(BROKEN[case])


def test_names_in_a_zip_are_no_paths() -> None:
    backup = read_backup(
        zipped(
            {f"../../{IDS[0]}/watch.json": watch(), f"/{IDS[1]}/watch.json": watch(), f"x/{IDS[2]}/watch.json": watch()}
        )
    )
    assert list(backup.watches) == [IDS[2]]


@pytest.mark.parametrize("media_type", ["text/plain", "multipart/form-data; boundary=x"])
async def test_a_backup_of_another_type_is_refused(ada: Person, media_type: str) -> None:
    content = zipped({"url-watches.json": index(watch())})
    headers = {"Content-Type": media_type}
    error = await ada.is_refused(
        "POST", "/monitors/import/changedetection", content=content, headers=headers, status=415
    )
    assert error["code"] == "UNSUPPORTED_MEDIA_TYPE"


@given(st.binary(max_size=400))
def test_any_bytes_are_a_backup_or_refused(content: bytes) -> None:
    for sent in (content, b"PK" + content, zipped({f"{IDS[0]}/watch.json": content})):
        with suppress(InvalidInput):
            read_backup(sent)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted(watch())), anything, max_size=6), anything)
def test_whatever_a_watch_holds_it_becomes_an_entry(changes: Json, settings: Any) -> None:  # noqa: ANN401  any JSON
    backup = read_backup(json.dumps({"watching": {"a": watch(**changes)}, "settings": settings}).encode())
    (one,) = entries_of_backup(backup, interval_seconds_min=60, paused=False)
    assert (one.wish is None) == bool(one.refusals)


@given(st.lists(anything, max_size=3))
def test_whatever_an_export_holds_it_becomes_entries(monitors: list[Any]) -> None:
    bodies = [one for one in monitors if isinstance(one, dict)]
    for one in entries_of_export(bodies, {}):
        assert (one.wish is None) == bool(one.refusals)


@given(st.lists(st.text(max_size=30), max_size=5))
def test_whatever_stands_in_a_line_it_becomes_an_entry_or_is_passed_over(lines: list[str]) -> None:
    places = [one.place for one in entries_of_lines(lines, {})]
    assert len(set(places)) == len(places) <= len(lines)


async def test_imported_monitors_are_ones_own(ada: Person, ben: Person) -> None:
    answer = await ada.gets("POST", "/monitors/import", {"format": "urls", "urls": ["http://127.0.0.1/a"]})
    (one,) = answer["entries"]
    assert UUID(one["id"]).version == 7
    await ben.is_refused("GET", f"/monitors/{one['id']}", status=404)
