"""Requests that are made to break something: each costs its sender an answer that is small, and nobody else anything."""

import asyncio
import json
import threading
from collections.abc import Sequence
from typing import Any
from uuid import uuid1

import pytest

from bootstrap.parts import Parts
from commands.answer_reading import PARSED_IN_PLACE_BYTES_MAX, SELECTED_IN_PLACE_BYTES_MAX, AnswerReader
from commands.http.body import ERRORS_TOLD_MAX
from commands.looking import Looker
from commands.previewing import NothingKept
from domain.evidence import Document, FetchOutcome
from domain.fact import Fact, FactSpec, FactType, Select
from domain.source import Source
from tests.api.conftest import MONITOR_LIMIT
from tests.api.people import Person, wish
from tests.api.test_signal_writes import Sender
from tests.conftest import AT
from tests.domain.plans import MONITOR_ID, plan

BACKUP = {"Content-Type": "application/json"}


def watches(several: int, **changes: object) -> dict[str, Any]:
    return {
        "watching": {str(uuid1()): {"url": f"http://127.0.0.1/{i}", "paused": True, **changes} for i in range(several)}
    }


async def imports(person: Person, backup: object, *, key: str | None = None, query: str = "") -> Any:  # noqa: ANN401  JSON
    headers = BACKUP if key is None else {**BACKUP, "Idempotency-Key": key}
    path = f"/monitors/import/changedetection{query}"
    return await person.asks("POST", path, content=json.dumps(backup), headers=headers)


async def test_a_signal_whose_names_postgresql_has_no_place_for_is_refused_and_counted(ada: Person) -> None:
    schema = {"additionalProperties": {"type": "number"}}
    source = await ada.gets("POST", "/signal-sources", {"name": "Thermometer", "schema": schema}, expect=201)
    refused = await Sender(ada.installation, source["id"], source["secret"]).sends({"\0": "x"})
    assert refused.status_code == 400, refused.text
    told = await ada.gets("GET", f"/signal-sources/{source['id']}")
    assert (told["refused"], told["last_refusal"]) == (1, "type at /*")


@pytest.mark.parametrize("depth", [300, 900])
async def test_a_schema_that_is_nested_too_deeply_is_refused_by_field(ada: Person, depth: int) -> None:
    body = '{"name":"Thermometer","schema":' + '{"not":' * depth + "{}" + "}" * depth + "}"
    refused = await ada.asks("POST", "/signal-sources", content=body, headers=BACKUP)
    assert refused.status_code == 400
    assert refused.json()["error"]["details"][0]["field"] == "schema"


async def test_of_a_body_of_nothing_but_mistakes_the_first_are_told(ada: Person) -> None:
    wrong = {f"field{i}": i for i in range(5_000)}
    error = await ada.is_refused("POST", "/monitors", wish(**wrong), status=400)
    assert len(error["details"]) == ERRORS_TOLD_MAX
    body = {"format": "vigil", "monitors": [wrong, {"name": {f"\0{i}": 1 for i in range(5_000)}}]}
    done = await ada.gets("POST", "/monitors/import", body)
    assert max(len(entry["details"]) for entry in done["entries"]) == ERRORS_TOLD_MAX


async def test_a_watch_with_countless_filters_is_answered_shortly(ada: Person) -> None:
    answer = await imports(ada, watches(1, include_filters=["jq:!"] * 50_000))
    assert answer.json()["data"]["created"] == 1
    assert len(answer.content) < 20_000


@pytest.mark.parametrize("key", [None, "once"])
async def test_what_is_told_of_a_backup_can_be_kept_whatever_stands_there(ada: Person, key: str | None) -> None:
    wrong = {"url": "http://127.0.0.1/", "method": "\0" * 10_000, "headers": {"X\0": "\0"}}
    answer = await imports(ada, {"watching": {"\0": wrong, "2": {**wrong, "processor": "\0" * 10_000}}}, key=key)
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"]["refused"] == 2
    assert "\\u0000" not in answer.text
    assert len(answer.content) < 20_000


@pytest.mark.parametrize("overlap", ["P9999999D", "-P9999999D", "P8D", "-PT1S"])
async def test_an_overlap_of_secrets_that_no_calendar_holds_is_refused(ada: Person, overlap: str) -> None:
    source = await ada.gets("POST", "/signal-sources", {"name": "Thermometer"}, expect=201)
    error = await ada.is_refused("POST", f"/signal-sources/{source['id']}/rotate-secret?overlap={overlap}", status=400)
    assert error["details"][0]["field"] == "overlap"


async def test_any_number_of_pages_of_one_title_are_all_imported(ada: Person) -> None:
    many = 55
    first = (await imports(ada, watches(many, title="Shop"))).json()["data"]
    assert first["created"] == many
    assert first["entries"][-1]["name"] == f"Shop ({many})"
    second = (await imports(ada, watches(3, title="SHOP"))).json()["data"]
    assert [entry["name"] for entry in second["entries"]] == [f"SHOP ({many + n})" for n in (1, 2, 3)]


async def test_a_key_of_a_request_is_refused_for_the_same_body_with_another_query(ada: Person) -> None:
    backup = watches(1, paused=False)
    assert (await imports(ada, backup, key="once", query="?paused=true")).status_code == 200
    again = await imports(ada, backup, key="once", query="?paused=true")
    assert again.headers["Idempotency-Replayed"] == "true"
    refused = await imports(ada, backup, key="once")
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")


class Reads:
    """A fetcher that answers so many bytes, and a reader that says in which threads it read them."""

    edition = "1"

    def __init__(self, size: int) -> None:
        self.size = size
        self.threads: list[threading.Thread] = []

    async def fetch(self, source: Any, _known: object) -> Document:  # noqa: ANN401  any that is read
        return Document(url=source.url, outcome=FetchOutcome.OK, fetched_at=AT, body=b"x" * self.size, hash="0")

    def read(self, facts: Sequence[FactSpec], source: Source, document: Document) -> dict[str, Fact]:
        del facts, source, document
        self.threads.append(threading.current_thread())
        return {}


@pytest.mark.parametrize(
    ("select", "size_max"),
    [
        (Select(css="p:nth-child(3)"), SELECTED_IN_PLACE_BYTES_MAX),
        (Select(xpath="//p/following-sibling::p"), SELECTED_IN_PLACE_BYTES_MAX),
        (Select(regex="Price: ([0-9]+)"), SELECTED_IN_PLACE_BYTES_MAX),
        (Select(jsonpath="$.price"), PARSED_IN_PLACE_BYTES_MAX),
        (None, PARSED_IN_PLACE_BYTES_MAX),
    ],
)
async def test_whatever_may_take_long_to_find_is_looked_for_beside_the_requests_of_others(
    parts: Parts, select: Select | None, size_max: int
) -> None:
    wanted = plan(facts=(FactSpec(name="price", type=FactType.TEXT, select=select),))
    for size, here in [(size_max, True), (size_max + 1, False)]:
        reads = Reads(size)
        looker = Looker(fetcher=reads, reader=AnswerReader(reads), kept=NothingKept(), signals=parts.signals)
        await looker.look(MONITOR_ID, wanted, started_at=AT)
        assert [thread is threading.main_thread() for thread in reads.threads] == [here]


async def test_whoever_asks_in_every_way_at_once_gets_the_last_place_once(ada: Person) -> None:
    one, paused, deleted = [await ada.monitor(name=name) for name in ("one", "paused", "deleted")]
    await ada.gets("POST", f"/monitors/{paused['id']}/pause")
    await ada.gets("DELETE", f"/monitors/{deleted['id']}", expect=204)
    await ada.monitor(name="two")
    export = {"format": "vigil", "monitors": [wish(name=f"imported {i}") for i in range(5)]}
    answers = await asyncio.gather(
        *(ada.asks("POST", f"/monitors/{paused['id']}/resume") for _ in range(10)),
        *(ada.asks("POST", f"/monitors/{deleted['id']}/restore", {}) for _ in range(10)),
        *(ada.asks("POST", f"/monitors/{one['id']}/fork", {}) for _ in range(10)),
        *(ada.asks("POST", "/monitors/import", export) for _ in range(5)),
        *(ada.asks("POST", "/monitors", wish(name=f"new {i}")) for i in range(10)),
    )
    assert {answer.status_code for answer in answers} <= {200, 201, 409, 422}
    listed = await ada.gets("GET", "/monitors?status=active&limit=100")
    assert len(listed) == MONITOR_LIMIT
