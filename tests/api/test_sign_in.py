"""Registering, proving an address, logging in, refreshing and logging out, over HTTP."""

import re
from typing import Any

import httpx
import pytest

from tests.api.people import PASSWORD, Installation, Json, Person

NEW = {"email": "new@example.org", "password": PASSWORD, "name": "Ada"}


async def asks(installation: Installation, path: str, body: object, *, expect: int) -> Any:  # noqa: ANN401  any JSON
    response = await installation.nobody("POST", f"/auth{path}", body)
    assert response.status_code == expect, response.text
    return response.json() if response.content else None


async def logs_in(installation: Installation, person: Person) -> Json:
    body = {"email": person.email, "password": PASSWORD}
    tokens: Json = (await asks(installation, "/login", body, expect=200))["data"]
    return tokens


async def test_a_person_registers_proves_their_address_and_is_let_in(installation: Installation) -> None:
    body = {**NEW, "email": "Grace@Example.org", "timezone": "Europe/Berlin"}
    answered = await asks(installation, "/register", body, expect=201)
    assert answered["data"] == {"email": "Grace@Example.org", "verification": "sent"}
    user_id = await installation.parts.identity().accounts.user_with("grace@example.org")
    assert user_id is not None
    credentials = {"email": "grace@example.org", "password": PASSWORD}
    refused = await asks(installation, "/login", credentials, expect=401)
    assert refused["error"]["code"] == "INVALID_CREDENTIALS"

    token = await installation.link_token(user_id)
    assert (await asks(installation, "/verify-email", {"token": token}, expect=200))["data"] == {"verified": True}
    used = await asks(installation, "/verify-email", {"token": token}, expect=400)
    assert (used["error"]["code"], used["error"]["details"][0]["field"]) == ("VALIDATION_ERROR", "token")

    pair = (await asks(installation, "/login", credentials, expect=200))["data"]
    assert set(pair) == {"access_token", "token_type", "expires_in", "refresh_token"}
    assert pair["token_type"] == "Bearer"
    assert 60 <= pair["expires_in"] <= 3600
    await installation.can_be_read(user_id)
    me = await installation.client.get("/api/v1/me", headers={"Authorization": f"Bearer {pair['access_token']}"})
    assert {name: me.json()["data"][name] for name in ("email", "name", "timezone", "verified", "roles")} == {
        "email": "grace@example.org",
        "name": "Ada",
        "timezone": "Europe/Berlin",
        "verified": True,
        "roles": ["member"],
    }


async def test_a_taken_address_is_answered_as_a_new_one(installation: Installation, ada: Person) -> None:
    def told(answer: Json) -> Json:
        return {**answer["data"], "email": ""}

    new = await asks(installation, "/register", NEW, expect=201)
    taken = await asks(installation, "/register", {**NEW, "email": ada.email}, expect=201)
    assert told(new) == told(taken)


async def test_a_session_is_refreshed_once_with_each_token_and_ends_at_log_out(
    installation: Installation, ada: Person
) -> None:
    first = await logs_in(installation, ada)
    second = (await asks(installation, "/refresh", {"refresh_token": first["refresh_token"]}, expect=200))["data"]
    assert second["refresh_token"] != first["refresh_token"]
    await asks(installation, "/logout", {"refresh_token": second["refresh_token"]}, expect=204)
    for spent in (first, second):
        error = await asks(installation, "/refresh", {"refresh_token": spent["refresh_token"]}, expect=401)
        assert error["error"]["code"] == "SESSION_INVALID"
    await asks(installation, "/logout", {"refresh_token": second["refresh_token"]}, expect=204)


async def test_a_stolen_token_that_comes_back_ends_the_session(installation: Installation, ada: Person) -> None:
    stolen = await logs_in(installation, ada)
    mine = (await asks(installation, "/refresh", {"refresh_token": stolen["refresh_token"]}, expect=200))["data"]
    await asks(installation, "/refresh", {"refresh_token": stolen["refresh_token"]}, expect=401)
    await asks(installation, "/refresh", {"refresh_token": mine["refresh_token"]}, expect=401)


async def test_who_is_not_let_in_is_told_the_same_whatever_the_reason(installation: Installation, ada: Person) -> None:
    def told(response: httpx.Response) -> tuple[int, Json, str]:
        error = response.json()["error"]
        same = {name: error[name] for name in ("code", "message", "details", "documentation_url")}
        return response.status_code, same, response.headers["WWW-Authenticate"]

    await asks(installation, "/register", {**NEW, "email": "unverified@example.org"}, expect=201)
    tried = [
        (ada.email, "a wrong password"),
        ("nobody@example.org", PASSWORD),
        ("unverified@example.org", PASSWORD),
        ("no address", PASSWORD),
        (ada.email, ""),
        (ada.email, "x" * 10_000),
    ]
    answers = [
        told(await installation.nobody("POST", "/auth/login", {"email": email, "password": password}))
        for email, password in tried
    ]
    assert all(answer == answers[0] for answer in answers)
    assert answers[0][0] == 401


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"email": None}, "email"),
        ({"email": "no address"}, "email"),
        ({"email": ["a@example.org"]}, "email"),
        ({"email": "a\0@example.org"}, "email"),
        ({"email": "a@example.org\r\nBcc: b@example.org"}, "email"),
        ({"password": None}, "password"),
        ({"password": "short"}, "password"),
        ({"password": "x" * 257}, "password"),
        ({"password": "Other@example.org"}, "password"),
        ({"password": 12345678}, "password"),
        ({"password": "NUL\0 in a password"}, "password"),
        ({"name": None}, "name"),
        ({"name": " "}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"timezone": "Middle/Earth"}, "timezone"),
        ({"timezone": 1}, "timezone"),
        ({"roles": ["admin"]}, "roles"),
        ({"verified": True}, "verified"),
    ],
    ids=str,
)
async def test_what_cannot_be_registered_is_refused_by_field(
    installation: Installation, changes: Json, field: str
) -> None:
    body = {
        name: value for name, value in {**NEW, "email": "other@example.org", **changes}.items() if value is not None
    }
    error = (await asks(installation, "/register", body, expect=400))["error"]
    assert (error["code"], [detail["field"] for detail in error["details"]]) == ("VALIDATION_ERROR", [field])
    assert await installation.parts.identity().accounts.user_with("other@example.org") is None


@pytest.mark.parametrize("path", ["/login", "/refresh", "/logout", "/verify-email"])
@pytest.mark.parametrize("body", [{}, {"colour": "red"}, []], ids=str)
async def test_a_body_that_does_not_fit_is_refused(installation: Installation, path: str, body: object) -> None:
    error = (await asks(installation, path, body, expect=400))["error"]
    assert error["code"] == "VALIDATION_ERROR"
    assert error["details"]


@pytest.mark.parametrize("token", ["", "nonsense", "x" * 10_000, "../../..", "ä"])
async def test_a_token_nobody_was_given_opens_nothing(installation: Installation, token: str) -> None:
    await asks(installation, "/verify-email", {"token": token}, expect=400)
    await asks(installation, "/refresh", {"refresh_token": token}, expect=401)
    await asks(installation, "/logout", {"refresh_token": token}, expect=204)


async def test_the_page_of_a_mailed_link_changes_nothing_and_its_button_does(installation: Installation) -> None:
    await asks(installation, "/register", {**NEW, "email": "page@example.org"}, expect=201)
    user_id = await installation.parts.identity().accounts.user_with("page@example.org")
    assert user_id is not None
    token = await installation.link_token(user_id)
    page = await installation.nobody("GET", f"/auth/verify-email?token={token}")
    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "form-action 'self'" in page.headers["Content-Security-Policy"]
    assert not (await installation.parts.store.load(user_id))[2:], "mail scanners open links too"
    action = re.search(r'action="([^"]+)"', page.text)
    assert action is not None
    done = await installation.client.post(action[1])
    assert (done.status_code, "verified" in done.text) == (200, True)
    again = await installation.client.post(action[1])
    assert (again.status_code, "no longer works" in again.text) == (400, True)


async def test_the_page_of_a_link_shows_nothing_of_it_as_markup(installation: Installation) -> None:
    page = await installation.nobody("GET", "/auth/verify-email", params={"token": '"><script>alert(1)</script>'})
    assert "<script" not in page.text
