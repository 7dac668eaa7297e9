"""What belongs to somebody else is not there: every operation of the OpenAPI document that takes an id (OWASP API1:2023).

A route that is added later is in the matrix by itself, and fails here until this page knows how to fill it.
"""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from adapters.openapi_document import METHODS
from bootstrap.now_and_new import new_id, utc_now
from domain.evaluation import EvaluationRequested
from domain.notification import MailKind, NotificationRequested
from tests.api.people import Installation, Json, Person, wish
from tests.conftest import AT

PREFIX = "/api/v1"

BODIES: dict[tuple[str, str], Json] = {
    ("put", "/monitors/{monitor_id}"): wish(condition="price < 1.0"),
    ("patch", "/monitors/{monitor_id}"): {"name": "Taken over"},
    ("post", "/monitors/{monitor_id}/backtest"): {"condition": "price < 1.0"},
    ("put", "/actions/{action_id}"): {"type": "email", "name": "Taken over"},
    ("put", "/triggers/{trigger_id}"): {"condition": "state_change"},
    ("patch", "/signal-sources/{source_id}"): {"name": "Taken over"},
}
"""What a write sends; ids in it are filled in from what the caller owns."""

SIGNED = "/signals/{source_id}"
"""Where no token is asked for, and a signature is."""


@dataclass
class Operation:
    """A method on a path, as the document has it."""

    method: str
    path: str

    @property
    def ids(self) -> list[str]:
        """The ids in the path."""
        return re.findall(r"{(\w+_id)}", self.path)

    def under(self, ids: dict[str, str]) -> str:
        """The path of one thing."""
        return self.path.format(**ids)


async def operations(installation: Installation) -> list[Operation]:
    """Every operation of the application."""
    document = (await installation.nobody("GET", "/openapi.json")).json()
    return [
        Operation(method, path.removeprefix(PREFIX))
        for path, item in document["paths"].items()
        for method in METHODS
        if method in item and path.startswith(PREFIX)
    ]


@dataclass
class Owner:
    """Somebody with one thing of each kind."""

    person: Person
    ids: dict[str, str]

    async def sees(self) -> dict[str, Any]:
        """Everything of theirs, as they read it, and how much is stored."""
        person, ids = self.person, self.ids
        reads = {
            "monitor": f"/monitors/{ids['monitor_id']}",
            "history": f"/monitors/{ids['monitor_id']}/history",
            "action": f"/actions/{ids['action_id']}",
            "trigger": f"/triggers/{ids['trigger_id']}",
            "signal source": f"/signal-sources/{ids['source_id']}",
            "notification": f"/notifications/{ids['notification_id']}",
            "monitors": "/monitors",
            "notifications": "/notifications",
        }
        seen = {name: await person.gets("GET", path) for name, path in reads.items()}
        return {**seen, "stored": await person.installation.stored(person.user_id)}


async def owner_of_everything(installation: Installation) -> Owner:
    person = await installation.person()
    monitor, action = await person.monitor(), await person.action()
    trigger = await person.trigger(monitor, action)
    evaluation = await person.gets("POST", f"/monitors/{monitor['id']}/evaluate", expect=202)
    source = await person.gets("POST", "/signal-sources", {"name": "Greenhouse"}, expect=201)
    notification_id = new_id()
    requested = NotificationRequested(
        kind=MailKind.ALERT,
        to=person.email,
        subject="Kettle is now active",
        monitor_id=UUID(monitor["id"]),
        requested_at=AT,
    )
    await installation.append(person.user_id, notification_id, requested)
    return Owner(
        person,
        {
            "monitor_id": monitor["id"],
            "evaluation_id": evaluation["id"],
            "action_id": action["id"],
            "trigger_id": trigger["id"],
            "source_id": source["id"],
            "notification_id": str(notification_id),
            "name": "price",
            "stream": monitor["id"],
        },
    )


@pytest.fixture(scope="module")
async def owner(installation: Installation) -> Owner:
    return await owner_of_everything(installation)


@pytest.fixture(scope="module")
async def other(installation: Installation) -> Owner:
    return await owner_of_everything(installation)


def told(response: httpx.Response, ids: dict[str, str]) -> tuple[int, str, dict[str, str]]:
    """What an answer tells, without the ids that were asked for, and without what names the request itself."""
    text = response.text
    for one in ids.values():
        text = text.replace(one, "<id>")
    text = re.sub(r'"(correlation_id|request_id|timestamp)":"[^"]*"', "", text)
    moving = {"x-request-id", "x-correlation-id", "content-length", "content-encoding"}
    return (
        response.status_code,
        text,
        {name: value for name, value in response.headers.items() if name not in moving},
    )


def body_for(operation: Operation, caller: dict[str, str]) -> Json | None:
    body = BODIES.get((operation.method, operation.path))
    if body is not None and operation.path.startswith("/triggers"):
        return {**body, "monitor_id": caller["monitor_id"], "action_id": caller["action_id"]}
    return body


async def test_an_id_of_somebody_else_is_answered_as_one_that_nobody_has(
    installation: Installation, owner: Owner, other: Owner
) -> None:
    before = await owner.sees()
    tried = 0
    for operation in await operations(installation):
        if not operation.ids:
            continue
        random = {**owner.ids, **{name: str(new_id()) for name in operation.ids}}
        mixed = [{**other.ids, name: owner.ids[name]} for name in operation.ids]
        nobodys = [{**other.ids, name: random[name]} for name in operation.ids]
        body = body_for(operation, other.ids)
        for foreign, unknown in [(owner.ids, random), *zip(mixed, nobodys, strict=True)]:
            for extra in ({}, {"If-Match": '"1"'}, {"Idempotency-Key": f"{operation.path}-{tried}"}):
                answers = [
                    told(await other.person.asks(operation.method, operation.under(ids), body, headers=extra), ids)
                    for ids in (foreign, unknown)
                ]
                assert answers[0] == answers[1], operation
                assert answers[0][0] == (401 if operation.path == SIGNED else 404), (operation, answers[0])
                tried += 1
    assert tried > 60
    assert await owner.sees() == before


async def test_a_malformed_write_does_not_tell_whether_the_thing_is_there(
    installation: Installation, owner: Owner, other: Owner
) -> None:
    for operation in await operations(installation):
        if operation.ids and (operation.method, operation.path) in BODIES:
            random = {name: str(new_id()) for name in operation.ids}
            for body in ({"colour": "red"}, {}):
                answers = [
                    told(await other.person.asks(operation.method, operation.under(ids), body), ids)
                    for ids in (owner.ids, random)
                ]
                assert answers[0] == answers[1], operation


async def test_nobody_gets_anywhere_without_a_token(installation: Installation, owner: Owner) -> None:
    before = await owner.sees()
    refused = set()
    for operation in await operations(installation):
        body = body_for(operation, owner.ids)
        response = await installation.nobody(operation.method, operation.under(owner.ids), body)
        if not operation.path.startswith("/auth/"):
            assert response.status_code == 401, operation
            code = "SIGNATURE_INVALID" if operation.path == SIGNED else "UNAUTHENTICATED"
            assert response.json()["error"]["code"] == code
            refused.add(operation.path)
        else:
            assert response.status_code == 400, "signing in needs a body and no token"
    assert {"/monitors", "/monitors/{monitor_id}", "/triggers", "/actions", "/notifications", "/me"} <= refused
    assert await owner.sees() == before


async def test_a_token_of_another_installation_or_of_yesterday_is_no_token(
    installation: Installation, owner: Owner
) -> None:
    tokens = installation.parts.tokens
    old, _ = tokens.issue(owner.person.user_id, frozenset({"member"}), now=utc_now() - timedelta(days=1))
    good = owner.person.authorization["Authorization"].removeprefix("Bearer ")
    head, payload, signature = good.split(".")
    for token in (old, f"{head}.{payload}.", f"{head}.{payload}.{signature[::-1]}", f"{head}.{payload}"):
        response = await installation.nobody(
            "GET", f"/monitors/{owner.ids['monitor_id']}", headers={"Authorization": f"Bearer {token}"}
        )
        assert response.status_code == 401


async def test_ids_of_somebody_else_in_a_body_or_a_filter_lead_nowhere(owner: Owner, other: Owner) -> None:
    before = await owner.sees()
    stored = await other.person.installation.stored(other.person.user_id)
    for name in ("monitor_id", "action_id"):
        link = {"monitor_id": other.ids["monitor_id"], "action_id": other.ids["action_id"]}
        answers = [
            told(
                await other.person.asks("POST", "/triggers", {**link, name: one, "condition": "state_change"}),
                {name: one},
            )
            for one in (owner.ids[name], str(new_id()))
        ]
        assert answers[0] == answers[1]
        assert answers[0][0] == 400
    for path in ("/triggers", "/notifications"):
        assert await other.person.gets("GET", f"{path}?monitor_id={owner.ids['monitor_id']}") == []
    mail = {"type": "email", "to": [owner.person.email]}
    assert (await other.person.asks("POST", "/actions", mail)).status_code == 400
    assert await owner.sees() == before
    assert await other.person.installation.stored(other.person.user_id) == stored


async def test_lists_show_only_ones_own(owner: Owner, other: Owner) -> None:
    for path, name in (
        ("/monitors", "monitor_id"),
        ("/actions", "action_id"),
        ("/triggers", "trigger_id"),
    ):
        for one in (owner, other):
            assert [thing["id"] for thing in await one.person.gets("GET", path)] == [one.ids[name]]


async def test_a_cursor_of_somebody_elses_history_opens_nothing(owner: Owner, other: Owner) -> None:
    monitor = f"/monitors/{owner.ids['monitor_id']}"
    another = EvaluationRequested(monitor_id=UUID(owner.ids["monitor_id"]), requested_at=AT)
    await owner.person.installation.append(owner.person.user_id, new_id(), another)
    page = await owner.person.asks("GET", f"{monitor}/history?limit=1")
    cursor = page.json()["pagination"]["next_cursor"]
    assert cursor
    foreign = await other.person.asks("GET", f"{monitor}/history", params={"cursor": cursor})
    assert foreign.status_code == 404
    elsewhere = await other.person.asks(
        "GET", f"/monitors/{other.ids['monitor_id']}/history", params={"cursor": cursor}
    )
    assert elsewhere.status_code == 400
    assert owner.ids["monitor_id"] not in elsewhere.text
