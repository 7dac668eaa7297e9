"""Commands that carry an Idempotency-Key: sent twice, done once."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.api.people import Json, Person, wish

KEY = {"Idempotency-Key": "b7c9-1"}


def told(response: httpx.Response) -> tuple[int, object, dict[str, str]]:
    """What an answer says, apart from when and under which id it was asked."""
    kept = ("ETag", "Location", "Content-Type", "Vigil-Position")
    return (
        response.status_code,
        response.json()["data"] if response.content else None,
        {name: response.headers[name] for name in kept if name in response.headers},
    )


async def commands_of(person: Person) -> dict[str, tuple[str, Any, Any]]:
    """Every command that starts something: its path, a body, and another body."""
    monitor, action = await person.monitor(), await person.action()
    link = {"monitor_id": monitor["id"], "action_id": action["id"], "condition": "becomes_active"}
    return {
        "monitors": ("/monitors", wish(name="Kettle"), wish(name="Pot")),
        "actions": ("/actions", {"type": "email"}, {"type": "email", "name": "Other"}),
        "triggers": ("/triggers", link, {**link, "frequency": "once"}),
        "evaluations": (f"/monitors/{monitor['id']}/evaluate", None, {"now": True}),
    }


KINDS = ["monitors", "actions", "triggers", "evaluations"]


@pytest.mark.parametrize("kind", KINDS)
async def test_the_same_command_again_gets_the_first_answer_and_changes_nothing(ada: Person, kind: str) -> None:
    path, body, _ = (await commands_of(ada))[kind]
    first = await ada.asks("POST", path, body, headers=KEY)
    stored = await ada.installation.stored(ada.user_id)
    again = await ada.asks("POST", path, body, headers=KEY)
    assert first.is_success
    assert told(again) == told(first)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["X-Request-ID"] != first.headers["X-Request-ID"]
    assert await ada.installation.stored(ada.user_id) == stored


@pytest.mark.parametrize("kind", KINDS)
async def test_ten_of_one_command_at_the_same_moment_are_done_once(ada: Person, kind: str) -> None:
    path, body, _ = (await commands_of(ada))[kind]
    before = await ada.installation.stored(ada.user_id)
    answers = await asyncio.gather(*(ada.asks("POST", path, body, headers=KEY) for _ in range(10)))
    assert len({answer.json()["data"]["id"] for answer in answers}) == 1, [answer.text for answer in answers]
    assert all(told(answer)[:2] == told(answers[0])[:2] for answer in answers)
    after = await ada.installation.stored(ada.user_id)
    assert (after["events"] - before["events"], after["receipts"] - before["receipts"]) == (1, 1)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_key_that_is_used_for_another_command_is_refused(ada: Person, kind: str) -> None:
    commands = await commands_of(ada)
    path, body, other = commands[kind]
    await ada.asks("POST", path, body, headers=KEY)
    stored = await ada.installation.stored(ada.user_id)
    another = next(commands[name] for name in KINDS if name != kind)
    others = [(another[0], another[1]), *([(path, other)] if kind != "evaluations" else [])]
    for elsewhere, content in others:
        error = await ada.is_refused("POST", elsewhere, content, status=422, headers=KEY)
        assert error["code"] == "IDEMPOTENCY_KEY_REUSED"
    assert await ada.installation.stored(ada.user_id) == stored


async def test_the_same_body_sent_elsewhere_is_another_command(ada: Person) -> None:
    one, two = await ada.monitor(), await ada.monitor()
    await ada.gets("POST", f"/monitors/{one['id']}/evaluate", expect=202, headers=KEY)
    error = await ada.is_refused("POST", f"/monitors/{two['id']}/evaluate", status=422, headers=KEY)
    assert error["code"] == "IDEMPOTENCY_KEY_REUSED"


async def test_a_command_that_could_not_be_made_again_still_gets_its_first_answer(ada: Person) -> None:
    """The world has moved on since: the answer was lost, not the command."""
    commands = await commands_of(ada)
    first = {name: await ada.asks("POST", *commands[name][:2], headers={"Idempotency-Key": name}) for name in KINDS}
    monitor, action = (commands["triggers"][1][name] for name in ("monitor_id", "action_id"))
    await ada.gets("DELETE", f"/monitors/{monitor}", expect=204)
    await ada.gets("DELETE", f"/actions/{action}", expect=204)
    await ada.gets("PATCH", f"/monitors/{first['monitors'].json()['data']['id']}", {"name": "Renamed"})
    for name in KINDS:
        again = await ada.asks("POST", *commands[name][:2], headers={"Idempotency-Key": name})
        assert again.json()["data"] == first[name].json()["data"]


async def test_a_key_belongs_to_the_person_who_sent_it(ada: Person, ben: Person) -> None:
    mine, theirs = [await person.gets("POST", "/monitors", wish(), expect=201, headers=KEY) for person in (ada, ben)]
    assert mine["id"] != theirs["id"]


async def test_a_command_that_was_refused_may_be_corrected_under_the_same_key(ada: Person) -> None:
    await ada.is_refused("POST", "/monitors", wish(condition="price <"), status=400, headers=KEY)
    await ada.gets("POST", "/monitors", wish(), expect=201, headers=KEY)


async def test_without_a_key_every_command_counts(ada: Person) -> None:
    made: list[Json] = [await ada.action() for _ in range(2)]
    assert made[0]["id"] != made[1]["id"]


@pytest.mark.parametrize("key", ["x" * 256, "hö\xadflich"])
async def test_a_key_that_cannot_be_kept_is_refused(ada: Person, key: str) -> None:
    headers: Any = {"Idempotency-Key": key.encode("latin-1")}
    error = await ada.is_refused("POST", "/monitors", wish(), status=400, headers=headers)
    assert error["details"][0]["field"] == "Idempotency-Key"


async def test_a_key_of_spaces_is_no_key(ada: Person) -> None:
    made = [await ada.gets("POST", "/actions", {"type": "email"}, expect=201, headers={"Idempotency-Key": " "})]
    made += [await ada.gets("POST", "/actions", {"type": "email"}, expect=201, headers={"Idempotency-Key": " "})]
    assert made[0]["id"] != made[1]["id"]


async def changes_of(person: Person) -> dict[str, tuple[tuple[str, str, Any], tuple[str, str, Any]]]:
    """Every command that changes something, and what somebody does to the same thing afterwards."""
    monitor, action = await person.monitor(name="Kettle"), await person.action()
    trigger = await person.trigger(monitor, action)
    link = {name: trigger[name] for name in ("monitor_id", "action_id", "condition")}
    of_monitor, of_action, of_trigger = (
        f"/{kind}/{thing['id']}" for kind, thing in (("monitors", monitor), ("actions", action), ("triggers", trigger))
    )
    revised, mailed = wish(name="Pot", condition="price < 40.0"), {"type": "email", "name": "Tell me"}
    pause, resume = ("POST", f"{of_monitor}/pause", None), ("POST", f"{of_monitor}/resume", None)
    enable, disable = ("POST", f"{of_trigger}/enable", None), ("POST", f"{of_trigger}/disable", None)
    return {
        "pause": (pause, resume),
        "resume": (resume, pause),
        "replace a monitor": (("PUT", of_monitor, revised), ("PATCH", of_monitor, {"name": "Third"})),
        "change a monitor": (("PATCH", of_monitor, {"name": "Pot"}), ("PUT", of_monitor, wish(name="Third"))),
        "replace an action": (("PUT", of_action, mailed), ("DELETE", of_action, None)),
        "replace a trigger": (("PUT", of_trigger, {**link, "frequency": "once"}), ("PUT", of_trigger, link)),
        "disable": (disable, enable),
        "enable": (enable, disable),
        "delete a trigger": (("DELETE", of_trigger, None), enable),
        "delete an action": (("DELETE", of_action, None), ("PUT", of_action, mailed)),
        "delete a monitor": (("DELETE", of_monitor, None), resume),
    }


CHANGES = [
    *("pause", "resume", "replace a monitor", "change a monitor", "delete a monitor"),
    *("replace an action", "delete an action", "replace a trigger", "enable", "disable", "delete a trigger"),
]
AT_ONCE = {"resume", "enable"}
"""They ask for what is so already, and do nothing the first time."""


@pytest.mark.parametrize("kind", CHANGES)
async def test_a_late_repetition_of_a_change_gets_the_first_answer_and_undoes_nothing(ada: Person, kind: str) -> None:
    command, afterwards = (await changes_of(ada))[kind]
    before = await ada.installation.stored(ada.user_id)
    first = await ada.asks(*command, headers=KEY)
    assert first.is_success, first.text
    assert "Idempotency-Replayed" not in first.headers
    stored = await ada.installation.stored(ada.user_id)
    assert stored["receipts"] == before["receipts"] + 1
    assert (stored["events"] > before["events"]) == (kind not in AT_ONCE)
    await ada.asks(*afterwards)
    stored, shown = await ada.installation.stored(ada.user_id), await everything(ada)
    for _ in range(2):
        again = await ada.asks(*command, headers=KEY)
        assert told(again) == told(first)
        assert again.headers["Idempotency-Replayed"] == "true"
    assert await ada.installation.stored(ada.user_id) == stored
    assert await everything(ada) == shown


async def everything(person: Person) -> list[Any]:
    """What the person can see."""
    return [await person.gets("GET", path) for path in ("/monitors", "/actions", "/triggers")]


@pytest.mark.parametrize("kind", CHANGES)
async def test_ten_of_one_change_at_the_same_moment_are_made_once_and_answered_alike(ada: Person, kind: str) -> None:
    command, _ = (await changes_of(ada))[kind]
    seen = {} if kind.startswith(("delete", "enable")) else {"If-Match": '"1"'}
    before = await ada.installation.stored(ada.user_id)
    answers = await asyncio.gather(*(ada.asks(*command, headers={**KEY, **seen}) for _ in range(10)))
    assert answers[0].is_success, answers[0].text
    assert [told(answer) for answer in answers] == [told(answers[0])] * 10
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) <= 1, (
        "a twin may have answered first"
    )
    after = await ada.installation.stored(ada.user_id)
    assert after["receipts"] == before["receipts"] + 1
    assert after["events"] - before["events"] == {"replace a monitor": 2}.get(kind, kind not in AT_ONCE)


@pytest.mark.parametrize("kind", CHANGES)
async def test_a_key_of_one_change_is_refused_for_another(ada: Person, kind: str) -> None:
    command, afterwards = (await changes_of(ada))[kind]
    await ada.asks(*command, headers=KEY)
    stored = await ada.installation.stored(ada.user_id)
    error = await ada.is_refused(*afterwards, status=422, headers=KEY)
    assert error["code"] == "IDEMPOTENCY_KEY_REUSED"
    assert await ada.installation.stored(ada.user_id) == stored


async def test_a_repeated_change_is_answered_when_what_it_needed_then_is_gone(ada: Person) -> None:
    monitor, action, other = await ada.monitor(), await ada.action(), await ada.action(name="Other")
    trigger = await ada.trigger(monitor, action)
    body = {"monitor_id": monitor["id"], "action_id": other["id"], "condition": "becomes_active"}
    first = await ada.asks("PUT", f"/triggers/{trigger['id']}", body, headers=KEY)
    await ada.gets("DELETE", f"/actions/{other['id']}", expect=204)
    assert told(await ada.asks("PUT", f"/triggers/{trigger['id']}", body, headers=KEY)) == told(first)
    await ada.gets("DELETE", f"/triggers/{trigger['id']}", expect=204)
    assert told(await ada.asks("PUT", f"/triggers/{trigger['id']}", body, headers=KEY)) == told(first)


async def test_a_repeated_change_does_not_mind_that_its_version_is_no_longer_the_present_one(ada: Person) -> None:
    path = f"/monitors/{(await ada.monitor())['id']}"
    first = await ada.asks("PATCH", path, {"name": "Pot"}, headers={**KEY, "If-Match": '"1"'})
    again = await ada.asks("PATCH", path, {"name": "Pot"}, headers={**KEY, "If-Match": '"1"'})
    assert (first.status_code, told(again)) == (200, told(first))
    await ada.is_refused("PATCH", path, {"name": "Pot"}, status=412, headers={"If-Match": '"1"'})


async def test_an_evaluation_that_was_asked_for_while_another_waited_is_not_asked_for_again(ada: Person) -> None:
    path = f"/monitors/{(await ada.monitor())['id']}/evaluate"
    waiting = await ada.gets("POST", path, expect=202)
    assert await ada.gets("POST", path, expect=202, headers=KEY) == waiting
    async with ada.installation.parts.pool.connection() as connection:
        begun = "delete from evaluation_request where evaluation_id = %s"
        await connection.execute(begun, (waiting["id"],))
    assert await ada.gets("POST", path, expect=202, headers=KEY) == waiting
    assert await ada.gets("POST", path, expect=202) != waiting


async def test_a_change_that_was_made_but_never_answered_is_answered_when_it_comes_again(ada: Person) -> None:
    """Its first answer would have been made from the read tables, which nobody kept, so it is made now."""
    path = f"/monitors/{(await ada.monitor())['id']}"
    first = await ada.asks("POST", f"{path}/pause", headers=KEY)
    async with ada.installation.parts.pool.connection() as connection:
        unanswered = """update command_receipt set answer = jsonb_set(answer, '{data}', 'null') where owner_id = %s"""
        await connection.execute(unanswered, (ada.user_id,))
    again = await ada.asks("POST", f"{path}/pause", headers=KEY)
    assert told(again) == told(first)
    assert again.headers["Idempotency-Replayed"] == "true"
    await ada.gets("POST", f"{path}/resume")
    assert told(await ada.asks("POST", f"{path}/pause", headers=KEY)) == told(first)
    async with ada.installation.parts.pool.connection() as connection:
        await connection.execute(unanswered, (ada.user_id,))
    await ada.gets("DELETE", path, expect=204)
    assert (await ada.asks("POST", f"{path}/pause", headers=KEY)).status_code == 404, "nothing is left to show"
