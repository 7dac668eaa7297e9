"""Signal sources and signals from outside, over HTTP: who may send, what is taken, and what a refusal says."""

import asyncio
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

import httpx
import pytest
from standardwebhooks.webhooks import Webhook

from adapters.postgres_pool import Pool
from commands.signal_receiving import BURST
from commands.signal_signature import TOLERANCE
from commands.signals import SOURCES_MAX
from commands.signals_http import SIGNAL_BYTES_MAX
from tests.api.people import PASSWORD, Installation, Json, Person, wish

NOBODYS = str(UUID(int=1))
SCHEMA = {
    "type": "object",
    "properties": {"temperature": {"type": "number"}, "sensors": {"type": "array", "items": {"type": "string"}}},
    "required": ["temperature"],
    "additionalProperties": False,
}

_KEPT = """
select (select count(*) from signal_source where owner_id = %(owner)s),
       (select count(*) from signal_secret where owner_id = %(owner)s),
       (select count(*) from signal_watch where owner_id = %(owner)s)
"""


class Sender:
    """Somebody outside who was given a secret, and signs with the library of Standard Webhooks."""

    def __init__(self, installation: Installation, source_id: str, secret: str) -> None:
        self.installation, self.source_id, self.secret = installation, source_id, secret

    def signed(self, body: bytes, *, id: str = "msg_1", at: datetime | None = None) -> dict[str, str]:  # noqa: A002
        at = at or datetime.now(UTC)
        return {
            "webhook-id": id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": Webhook(self.secret).sign(id, at, body.decode()),
            "content-type": "application/json",
        }

    async def posts(self, body: bytes, headers: dict[str, str]) -> httpx.Response:
        path = f"/api/v1/signals/{self.source_id}"
        return await self.installation.client.post(path, content=body, headers=headers)

    async def sends(self, content: object, *, id: str = "msg_1") -> httpx.Response:  # noqa: A002
        body = json.dumps(content).encode()
        return await self.posts(body, self.signed(body, id=id))

    async def is_taken(self, content: object, *, id: str = "msg_1") -> Json:  # noqa: A002
        response = await self.sends(content, id=id)
        assert response.status_code == 202, response.text
        taken: Json = response.json()["data"]
        return taken


async def source_of(person: Person, **changes: object) -> Json:
    made: Json = await person.gets("POST", "/signal-sources", {"name": "Greenhouse", **changes}, expect=201)
    return made


async def sender_of(person: Person, **changes: object) -> Sender:
    made = await source_of(person, **changes)
    return Sender(person.installation, made["id"], made["secret"])


async def watching(person: Person, sender: Sender, **changes: object) -> Json:
    return await person.monitor(
        **{
            "prompt": "Tell me when the temperature is above 30",
            "sources": [{"type": "signal", "id": sender.source_id}],
            "facts": None,
            "condition": None,
            **changes,
        }
    )


def refusal(response: httpx.Response, status: int, code: str) -> Json:
    assert response.status_code == status, response.text
    error: Json = response.json()["error"]
    assert error["code"] == code
    return error


# Sources


async def test_a_signal_source_is_created_read_changed_and_deleted(ada: Person) -> None:
    body = {"name": "Greenhouse", "schema": SCHEMA, "silent_after": "P3D"}
    response = await ada.asks("POST", "/signal-sources", body)
    assert (response.status_code, response.headers["ETag"]) == (201, '"1"')
    assert response.headers["Vigil-Position"]
    made = response.json()["data"]
    path = f"/signal-sources/{made['id']}"
    assert response.headers["Location"] == f"/api/v1{path}"
    assert made["secret"].startswith("whsec_")
    assert made["url"] == f"/api/v1/signals/{made['id']}"

    read = await ada.gets("GET", path)
    assert "secret" not in read
    assert {name: read[name] for name in ("name", "schema", "silent_after", "status")} == {**body, "status": "never"}

    changed = await ada.asks("PATCH", path, {"silent_after": None, "name": "Glasshouse"}, headers={"If-Match": '"1"'})
    assert (changed.status_code, changed.headers["ETag"]) == (200, '"2"')
    assert {name: changed.json()["data"][name] for name in ("name", "schema", "silent_after")} == {
        "name": "Glasshouse",
        "schema": SCHEMA,
        "silent_after": None,
    }
    await ada.is_refused("PATCH", path, {"name": "x"}, status=412, headers={"If-Match": '"1"'})

    await ada.gets("DELETE", path, expect=204)
    await ada.is_refused("GET", path, status=404)
    await ada.is_refused("PATCH", path, {"name": "x"}, status=404)
    await ada.is_refused("POST", f"{path}/rotate-secret", status=404)
    assert await ada.gets("GET", "/signal-sources") == []


@pytest.mark.parametrize("public_url", ["https://vigil.example", "https://vigil.example/"])
async def test_the_address_of_a_source_is_absolute_where_it_is_known(
    ada: Person, monkeypatch: pytest.MonkeyPatch, public_url: str
) -> None:
    parts = ada.installation.parts
    monkeypatch.setattr(parts, "settings", parts.settings.model_copy(update={"public_url": public_url}))
    async with Installation(parts) as reached:
        monkeypatch.setattr(ada, "installation", reached)
        headers = {"Idempotency-Key": "once"}
        made = await ada.gets("POST", "/signal-sources", {"name": "Greenhouse"}, expect=201, headers=headers)
        address = f"https://vigil.example/api/v1/signals/{made['id']}"
        path = f"/signal-sources/{made['id']}"
        told = [
            made,
            await ada.gets("POST", "/signal-sources", {"name": "Greenhouse"}, expect=201, headers=headers),
            await ada.gets("GET", path),
            *await ada.gets("GET", "/signal-sources"),
            await ada.gets("PATCH", path, {"name": "Glasshouse"}),
        ]
    assert [source["url"] for source in told] == [address] * 5


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 121}, "name"),
        ({"name": 5}, "name"),
        ({"schema": {"type": "objekt"}}, "schema.type"),
        ({"schema": {"properties": {"a": {"minimum": "x"}}}}, "schema.properties.a.minimum"),
        ({"schema": {"$ref": "https://example.com/schema.json"}}, "schema.$ref"),
        ({"schema": {"$ref": "#"}}, "schema.$ref"),
        (
            {"schema": {"$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"}},
            "schema.$defs.a.items.$ref",
        ),
        ({"schema": {"$schema": "http://json-schema.org/draft-07/schema#"}}, "schema.$schema"),
        ({"schema": {"description": "x" * 17_000}}, "schema"),
        ({"schema": "anything"}, "schema"),
        ({"silent_after": "3 days"}, "silent_after"),
        ({"silent_after": "PT1S"}, "silent_after"),
        ({"silent_after": "P400D"}, "silent_after"),
        ({"secret": "whsec_mine"}, "secret"),
    ],
    ids=str,
)
async def test_a_wrong_signal_source_is_refused_by_field_and_nothing_is_stored(
    ada: Person, changes: Json, field: str
) -> None:
    before = await ada.installation.stored(ada.user_id)
    error = await ada.is_refused("POST", "/signal-sources", {"name": "Greenhouse", **changes}, status=400)
    assert [detail["field"] for detail in error["details"]] == [field]
    assert await ada.installation.stored(ada.user_id) == before


@pytest.mark.parametrize(
    ("schema", "words"), [({"type": "objekt"}, "one of array, boolean"), ({"pattern": "(?=x)"}, "without look-around")]
)
async def test_what_is_wrong_with_a_schema_is_told_with_what_would_do(ada: Person, schema: Json, words: str) -> None:
    error = await ada.is_refused("POST", "/signal-sources", {"name": "Greenhouse", "schema": schema}, status=400)
    assert words in error["details"][0]["message"]


async def test_a_schema_that_would_take_ages_to_check_is_refused(ada: Person) -> None:
    """Each level asks the next fifty times: 50 * 50 * 50 * 50 checks of a single number."""
    levels = {f"l{i}": {"anyOf": [{"$ref": f"#/$defs/l{i + 1}"}] * 50} for i in range(4)}
    schema = {"$defs": {**levels, "l4": {"type": "string"}}, "$ref": "#/$defs/l0"}
    error = await ada.is_refused("POST", "/signal-sources", {"name": "x", "schema": schema}, status=400)
    assert error["details"][0]["field"] == "schema"


async def test_a_person_has_at_most_so_many_signal_sources(ada: Person) -> None:
    made = [await source_of(ada) for _ in range(SOURCES_MAX)]
    error = await ada.is_refused("POST", "/signal-sources", {"name": "One more"}, status=422)
    assert error["code"] == "SIGNAL_SOURCE_LIMIT_EXCEEDED"
    await ada.gets("DELETE", f"/signal-sources/{made[0]['id']}", expect=204)
    await source_of(ada)


async def test_nobody_else_reads_or_changes_a_signal_source(ada: Person, ben: Person) -> None:
    made = await source_of(ada)
    path = f"/signal-sources/{made['id']}"
    await ben.is_refused("GET", path, status=404)
    await ben.is_refused("GET", f"{path}/signals", status=404)
    await ben.is_refused("PATCH", path, {"name": "Mine"}, status=404)
    await ben.is_refused("POST", f"{path}/rotate-secret", status=404)
    await ben.is_refused("DELETE", path, status=404)


async def test_a_repeated_creation_is_answered_with_the_same_secret_which_is_in_no_receipt(
    ada: Person, installation: Installation
) -> None:
    body, key = {"name": "Greenhouse"}, {"Idempotency-Key": "make it"}
    first = await ada.asks("POST", "/signal-sources", body, headers=key)
    again = await ada.asks("POST", "/signal-sources", body, headers=key)
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (201, "true")
    assert again.json()["data"] == first.json()["data"]
    assert len(await ada.gets("GET", "/signal-sources")) == 1

    path = f"/signal-sources/{first.json()['data']['id']}/rotate-secret"
    rotated = await ada.asks("POST", path, headers=key | {"Idempotency-Key": "turn it"})
    repeated = await ada.asks("POST", path, headers=key | {"Idempotency-Key": "turn it"})
    assert repeated.json()["data"] == rotated.json()["data"]
    secrets = {first.json()["data"]["secret"], rotated.json()["data"]["secret"]}
    assert len(secrets) == 2
    for table in ("command_receipt", "event", "signal_secret"):
        for secret in secrets:
            assert secret.removeprefix("whsec_") not in await everything_in(installation.parts.pool, table)


# Sending


async def test_a_signal_is_taken_and_asks_for_an_evaluation_of_each_active_monitor_that_watches(ada: Person) -> None:
    sender = await sender_of(ada, schema=SCHEMA)
    both = [await watching(ada, sender, name=name) for name in ("one", "two")]
    paused = await watching(ada, sender, name="three")
    await ada.gets("POST", f"/monitors/{paused['id']}/pause")
    taken = await sender.is_taken({"temperature": 31})
    assert taken["id"] == str(uuid5(UUID(sender.source_id), "msg_1"))
    assert taken["source_id"] == sender.source_id
    expected = {str(uuid5(UUID(monitor["id"]), taken["id"])) for monitor in both}
    assert set(taken["evaluations"]) == expected

    await ada.installation.can_be_read(UUID(taken["id"]), owner_id=ada.user_id)
    (signal,) = await ada.gets("GET", f"/signal-sources/{sender.source_id}/signals")
    assert (signal["id"], signal["webhook_id"], signal["body"]) == (taken["id"], "msg_1", {"temperature": 31})
    assert set(signal["evaluations"]) == expected
    source = await ada.gets("GET", f"/signal-sources/{sender.source_id}")
    assert (source["status"], source["received"], source["refused"]) == ("live", 1, 0)
    assert source["last_received_at"] == taken["received_at"]

    await ada.gets("POST", f"/monitors/{paused['id']}/resume")
    await ada.gets("DELETE", f"/monitors/{both[0]['id']}", expect=204)
    sources = [{"type": "http", "url": "http://127.0.0.1/price.json"}]
    await ada.gets("PATCH", f"/monitors/{both[1]['id']}", {"sources": sources})
    taken = await sender.is_taken({"temperature": 32}, id="msg_2")
    assert taken["evaluations"] == [str(uuid5(UUID(paused["id"]), taken["id"]))]


async def test_the_same_signal_ten_times_at_once_is_one_signal_and_one_evaluation(ada: Person) -> None:
    sender = await sender_of(ada)
    await watching(ada, sender)
    before = await ada.installation.stored(ada.user_id)
    answers = await asyncio.gather(*(sender.sends({"temperature": 31}) for _ in range(10)))
    assert [response.status_code for response in answers] == [202] * 10
    assert len({json.dumps(response.json()["data"]) for response in answers}) == 1
    assert sum("Idempotency-Replayed" in response.headers for response in answers) == 9
    after = await ada.installation.stored(ada.user_id)
    assert (after["requests"] - before["requests"], after["events"] - before["events"]) == (1, 2)

    other = await sender.is_taken({"temperature": -5})
    assert other == answers[0].json()["data"], "another body under the same id is the same signal"
    await ada.installation.can_be_read(UUID(other["id"]), owner_id=ada.user_id)
    assert len(await ada.gets("GET", f"/signal-sources/{sender.source_id}/signals")) == 1


async def test_the_same_id_at_two_sources_is_two_signals(ada: Person) -> None:
    one, two = await sender_of(ada), await sender_of(ada)
    assert (await one.is_taken(1))["id"] != (await two.is_taken(1))["id"]


def without(name: str) -> Callable[[dict[str, str]], dict[str, str]]:
    return lambda headers: {key: value for key, value in headers.items() if key != name}


def having(**changes: str) -> Callable[[dict[str, str]], dict[str, str]]:
    return lambda headers: {**headers, **{key.replace("_", "-"): value for key, value in changes.items()}}


@pytest.mark.parametrize(
    ("spoil", "field"),
    [
        (without("webhook-id"), "webhook-id"),
        (without("webhook-timestamp"), "webhook-timestamp"),
        (without("webhook-signature"), "webhook-signature"),
        (having(webhook_id="x" * 256), "webhook-id"),
        (having(webhook_timestamp="now"), "webhook-timestamp"),
        (having(webhook_timestamp="1e9"), "webhook-timestamp"),
        (having(webhook_timestamp="-1"), "webhook-timestamp"),
        (having(webhook_timestamp="0"), "webhook-timestamp"),
        (having(webhook_timestamp="99999999999"), "webhook-timestamp"),
        (having(webhook_signature="v1"), "webhook-signature"),
        (having(webhook_signature="v1a,AAAA"), "webhook-signature"),
        (having(webhook_signature="v1,%%%"), "webhook-signature"),
        (having(webhook_signature="v1," + "A" * 44), "webhook-signature"),
        (having(webhook_signature="v1,A " * 11), "webhook-signature"),
        (having(webhook_id="msg_2"), "webhook-signature"),
    ],
    ids=lambda given: given if isinstance(given, str) else "spoilt",
)
async def test_a_signal_that_is_not_signed_well_is_refused_by_header_and_nothing_is_stored(
    ada: Person, spoil: Callable[[dict[str, str]], dict[str, str]], field: str
) -> None:
    sender = await sender_of(ada)
    before = await ada.installation.stored(ada.user_id)
    response = await sender.posts(b"{}", spoil(sender.signed(b"{}")))
    error = refusal(response, 401, "SIGNATURE_INVALID")
    assert [detail["field"] for detail in error["details"]] == [field]
    assert response.headers["WWW-Authenticate"] == "StandardWebhooks"
    assert await ada.installation.stored(ada.user_id) == before
    assert (await ada.gets("GET", f"/signal-sources/{sender.source_id}"))["refused"] == 0


async def test_a_body_that_was_changed_by_a_byte_is_refused(ada: Person) -> None:
    sender = await sender_of(ada)
    refusal(await sender.posts(b'{"a": 2}', sender.signed(b'{"a": 1}')), 401, "SIGNATURE_INVALID")


async def test_an_address_where_nothing_is_answers_as_a_wrong_signature_does(ada: Person) -> None:
    sender = await sender_of(ada)
    stranger = Sender(ada.installation, sender.source_id, "whsec_" + "A" * 44)
    nowhere = Sender(ada.installation, NOBODYS, sender.secret)
    gone = await sender_of(ada)
    await ada.gets("DELETE", f"/signal-sources/{gone.source_id}", expect=204)

    def told(response: httpx.Response) -> tuple[int, Json, list[str]]:
        error = {k: v for k, v in response.json()["error"].items() if k in {"code", "message", "details"}}
        return response.status_code, error, sorted(response.headers)

    answers = [told(await each.sends({"a": 1})) for each in (stranger, nowhere, gone)]
    assert answers[0][0] == 401
    assert answers[0] == answers[1] == answers[2]


@pytest.mark.parametrize("seconds", [-1, 1])
async def test_a_signal_may_be_five_minutes_early_or_late_and_not_more(ada: Person, seconds: int) -> None:
    sender = await sender_of(ada)
    now = datetime.fromtimestamp(time.time(), UTC)  # noqa: TID251  what a sender's clock says
    within = sender.signed(b"1", at=now + seconds * (TOLERANCE - timedelta(seconds=30)))
    assert (await sender.posts(b"1", within)).status_code == 202
    outside = sender.signed(b"1", id="msg_2", at=now + seconds * (TOLERANCE + timedelta(seconds=30)))
    error = refusal(await sender.posts(b"1", outside), 401, "SIGNATURE_INVALID")
    assert error["details"][0]["field"] == "webhook-timestamp"
    assert "300 seconds" in error["details"][0]["message"]


async def test_what_a_signal_has_wrong_is_told_by_field_and_counted_for_its_owner(ada: Person) -> None:
    sender = await sender_of(ada, schema=SCHEMA)
    response = await sender.sends({"sensors": ["north", 5], "humidity": 3})
    error = refusal(response, 400, "VALIDATION_ERROR")
    assert {(detail["field"], detail["issue"]) for detail in error["details"]} == {
        ("temperature", "required"),
        ("sensors[1]", "type"),
        (None, "additionalProperties"),
    }
    source = await ada.gets("GET", f"/signal-sources/{sender.source_id}")
    assert (source["status"], source["received"], source["refused"]) == ("never", 0, 1)
    assert source["last_refused_at"] is not None
    assert source["last_refusal"] in {"required at /temperature", "type at /sensors/1", "additionalProperties"}
    assert await ada.gets("GET", f"/signal-sources/{sender.source_id}/signals") == []
    await sender.is_taken({"temperature": 20})


async def test_of_a_refused_signal_nothing_is_kept_that_its_sender_wrote(ada: Person) -> None:
    readings = {"type": "object", "additionalProperties": {"properties": {"a/b": {"type": "number"}}}}
    sender = await sender_of(ada, schema={"properties": {"readings": readings}})
    response = await sender.sends({"readings": {"mary@example.com": {"a/b": "Mary lives in Ely"}}})
    error = refusal(response, 400, "VALIDATION_ERROR")
    assert error["details"][0]["field"] == "readings.mary@example.com.a/b", "who sent it may know"
    source = await ada.gets("GET", f"/signal-sources/{sender.source_id}")
    assert source["last_refusal"] == "type at /readings/*/a~1b"
    async with ada.installation.parts.pool.connection() as connection:
        kept = await (await connection.execute("select s::text from signal_source s")).fetchall()
    assert sender.source_id in str(kept)
    assert "mary" not in str(kept).lower()


@pytest.mark.parametrize(
    "body", [b"", b"{", b"NaN", b'"\xff"', b'"\\ud800"', b"[" * 2000 + b"]" * 2000], ids=lambda body: str(body[:8])
)
async def test_what_is_no_json_is_refused(ada: Person, body: bytes) -> None:
    sender = await sender_of(ada)
    text = body.decode("latin-1")
    headers = sender.signed(b"{}")
    headers["webhook-signature"] = signature(sender.secret, headers, body)
    error = refusal(await sender.posts(body, headers), 400, "VALIDATION_ERROR")
    assert error["details"][0]["issue"] in {"json", "depth"}, text
    assert (await ada.gets("GET", f"/signal-sources/{sender.source_id}"))["refused"] == 1


def signature(secret: str, headers: dict[str, str], body: bytes) -> str:
    """As a shell would make it, for bodies that the library cannot sign because they are no text."""
    import base64  # noqa: PLC0415
    import hashlib  # noqa: PLC0415
    import hmac  # noqa: PLC0415

    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


async def test_json_that_postgresql_would_not_keep_as_such_is_taken_and_given_back_as_it_came(ada: Person) -> None:
    sender = await sender_of(ada)
    body = b'{"a": "x\\u0000y", "b": 1.10, "c": 123456789012345678901234567890, "\xc3\xa4": null}'
    response = await sender.posts(body, sender.signed(body))
    assert response.status_code == 202, response.text
    await ada.installation.can_be_read(UUID(response.json()["data"]["id"]), owner_id=ada.user_id)
    history = await ada.asks("GET", f"/signal-sources/{sender.source_id}/signals")
    assert body.decode() in history.text


async def test_a_body_of_another_type_or_too_large_is_refused(ada: Person) -> None:
    sender = await sender_of(ada)
    headers = {**sender.signed(b"{}"), "content-type": "text/plain"}
    refusal(await sender.posts(b"{}", headers), 415, "UNSUPPORTED_MEDIA_TYPE")
    assert "Content-Type" in (await ada.gets("GET", f"/signal-sources/{sender.source_id}"))["last_refusal"]
    large = b'"' + b"x" * SIGNAL_BYTES_MAX + b'"'
    refusal(await sender.posts(large, sender.signed(large)), 413, "BODY_TOO_LARGE")
    fitting = b'"' + b"x" * (SIGNAL_BYTES_MAX - 2) + b'"'
    assert (await sender.posts(fitting, sender.signed(fitting))).status_code == 202


async def test_a_source_that_is_sent_too_much_at_once_says_when_to_go_on(ada: Person) -> None:
    sender, other = await sender_of(ada), await sender_of(ada)
    answers = await asyncio.gather(*(sender.sends(n, id="one and the same") for n in range(BURST + 30)))
    refused = [response for response in answers if response.status_code == 429]
    assert refused
    assert {response.status_code for response in answers} == {202, 429}
    refusal(refused[0], 429, "RATE_LIMITED")
    assert int(refused[0].headers["Retry-After"]) >= 1
    await other.is_taken(1)


# Rotation


async def test_after_a_rotation_two_secrets_are_good_until_the_overlap_ends(ada: Person) -> None:
    sender = await sender_of(ada)
    path = f"/signal-sources/{sender.source_id}/rotate-secret"
    rotated = await ada.asks("POST", path)
    assert (rotated.status_code, rotated.headers["ETag"]) == (200, '"2"')
    newer = Sender(ada.installation, sender.source_id, rotated.json()["data"]["secret"])
    await sender.is_taken(1, id="by the older")
    await newer.is_taken(1, id="by the newer")
    source = await ada.gets("GET", f"/signal-sources/{sender.source_id}")
    assert source["older_secret_valid_until"] == rotated.json()["data"]["older_valid_until"]

    newest = Sender(ada.installation, sender.source_id, (await ada.gets("POST", path))["secret"])
    refusal(await sender.sends(1, id="by the oldest"), 401, "SIGNATURE_INVALID")
    await newer.is_taken(1, id="by the one before")
    await newest.is_taken(1, id="by the newest")

    last = Sender(ada.installation, sender.source_id, (await ada.gets("POST", f"{path}?overlap=PT0S"))["secret"])
    refusal(await newest.sends(1, id="leaked"), 401, "SIGNATURE_INVALID")
    await last.is_taken(1, id="by the last")
    error = await ada.is_refused("POST", f"{path}?overlap=P8D", status=400)
    assert error["details"][0]["field"] == "overlap"


async def test_a_signal_signed_with_both_secrets_of_a_sender_is_taken(ada: Person) -> None:
    sender = await sender_of(ada)
    headers = sender.signed(b"1")
    headers["webhook-signature"] = "v1a,AAAA v1," + "A" * 43 + "= " + headers["webhook-signature"]
    assert (await sender.posts(b"1", headers)).status_code == 202


# Watching


async def test_only_a_signal_source_of_ones_own_can_be_watched(ada: Person, ben: Person) -> None:
    theirs, mine, gone = await sender_of(ben), await sender_of(ada), await sender_of(ada)
    await ada.gets("DELETE", f"/signal-sources/{gone.source_id}", expect=204)
    for source_id in (theirs.source_id, NOBODYS, gone.source_id):
        sources = [{"type": "signal", "id": mine.source_id}, {"type": "signal", "id": source_id}]
        error = await ada.is_refused("POST", "/monitors", wish(sources=sources), status=400)
        assert [detail["field"] for detail in error["details"]] == ["sources[1].id"]
    monitor = await watching(ada, mine)
    assert monitor["sources"] == [{"type": "signal", "id": mine.source_id}]
    error = await ada.is_refused(
        "PATCH", f"/monitors/{monitor['id']}", {"sources": [{"type": "signal", "id": theirs.source_id}]}, status=400
    )
    assert error["details"][0]["field"] == "sources[0].id"


async def test_a_wish_about_signals_is_read_as_one_about_any_json(ada: Person) -> None:
    monitor = await watching(ada, await sender_of(ada))
    assert monitor["condition"] == "temperature > 30"
    assert monitor["facts"][0]["select"] == {"named": "temperature"}


# Erasure


async def everything_in(pool: Pool, table: str) -> str:
    async with pool.connection() as connection:
        rows = await (await connection.execute(f"select t::text from {table} t")).fetchall()  # noqa: S608  a name from this file
    return "\n".join(str(row[0]) for row in rows)


async def test_an_erased_person_leaves_neither_signals_nor_secrets_that_could_be_read(
    ada: Person, installation: Installation
) -> None:
    sender = await sender_of(ada, name="Grandmother's house", schema={"title": "hers"})
    await watching(ada, sender)
    taken = await sender.is_taken({"note": "she is in the garden"}, id="from her nurse")
    await installation.can_be_read(UUID(taken["id"]), owner_id=ada.user_id)
    pool = installation.parts.pool
    assert "in the garden" in await everything_in(pool, "read_model.signals")
    assert "garden" not in await everything_in(pool, "event")
    await installation.identity.erase_own(await caller(ada), password=PASSWORD)
    await installation.can_be_read(ada.user_id)

    async with pool.connection() as connection:
        kept = await (await connection.execute(_KEPT, {"owner": ada.user_id})).fetchone()
    assert kept == (0, 0, 0)
    for table in ("event", "read_model.signals", "read_model.signal_sources", "evaluation_request", "evidence"):
        rows = await everything_in(pool, table)
        for secret in ("garden", "Grandmother", "her nurse", '"hers"', sender.secret.removeprefix("whsec_")):
            assert secret not in rows, table
    refusal(await sender.sends(1, id="later"), 401, "SIGNATURE_INVALID")


async def caller(person: Person) -> Any:  # noqa: ANN401
    from commands.caller import Caller  # noqa: PLC0415

    return Caller(user_id=person.user_id, roles=frozenset({"member"}), correlation_id=person.user_id)
