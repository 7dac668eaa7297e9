"""What a person does with monitors, over HTTP: create, change, pause, delete, and read it at once."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from domain.monitor import State, StateChanged
from domain.monitor_health import MonitorFailing
from tests.api.conftest import MONITOR_LIMIT
from tests.api.people import SHOP, Json, Person, wish
from tests.conftest import AT

OTHER_FACT = {"name": "weight", "type": "number", "unit": "kg", "select": {"css": ".weight"}}


def path_of(monitor: Json) -> str:
    return f"/monitors/{monitor['id']}"


async def turned(person: Person, monitor: Json, state: State) -> Json:
    """The monitor after an evaluation moved it."""
    asked = await person.gets("POST", f"{path_of(monitor)}/evaluate", expect=202)
    change = StateChanged(
        from_state=State(monitor["state"]), to_state=state, evaluation_id=UUID(asked["id"]), changed_at=AT
    )
    await person.installation.append(person.user_id, UUID(monitor["id"]), change)
    read: Json = await person.gets("GET", path_of(monitor))
    assert read["state"] == state
    return read


def without(monitor: Json, *names: str) -> Json:
    return {name: value for name, value in monitor.items() if name not in names}


# Creating


async def test_a_new_monitor_is_answered_with_its_whole_plan(ada: Person) -> None:
    made = await ada.monitor(name="Kettle", confirmations=2, min_confidence=0.75)
    assert without(made, "id", "explanation", "next_due_at", "created_at", "updated_at") == {
        "name": "Kettle",
        "prompt": "Tell me when the price is under 50",
        "kind": "current_state",
        "status": "active",
        "failing": None,
        "state": "unknown",
        "facts": [{"name": "price", "type": "number", "select": {"jsonpath": "$.price"}}],
        "condition": "price < 50.0",
        "sources": [{"type": "http", "url": SHOP}],
        "schedule": {"every": "PT1H"},
        "confirmations": 2,
        "min_confidence": 0.75,
        "reset_condition": None,
        "fires": "on_entry",
        "provider": None,
        "batch": False,
        "forecast": None,
        "compile_cost_micros": None,
        "last_evaluated_at": None,
        "version": 1,
    }
    assert "price < 50.0" in made["explanation"]
    assert made["next_due_at"] == made["created_at"], "the first evaluation is due at once"


async def test_what_was_created_is_read_as_it_was_answered(ada: Person) -> None:
    made = await ada.monitor()
    assert without(await ada.gets("GET", path_of(made)), "updated_at") == without(made, "updated_at")
    (listed,) = await ada.gets("GET", "/monitors")
    assert listed == await ada.gets("GET", path_of(made))


async def test_a_prompt_alone_is_compiled(ada: Person) -> None:
    made = await ada.monitor(
        prompt="Every hour, tell me when the price drops by 10 % in a week", facts=None, condition=None, schedule=None
    )
    assert (made["kind"], made["schedule"]) == ("historical_change", {"every": "PT1H"})
    assert made["condition"] == 'decreased_by(price, 0.1, "P7D")'
    assert [fact["name"] for fact in made["facts"]] == ["price"]
    assert made["name"]


async def test_a_schedule_is_given_back_as_it_was_written(ada: Person) -> None:
    schedule = {"cron": "0 8 * * 1-5", "timezone": "Europe/Berlin"}
    assert (await ada.monitor(schedule=schedule))["schedule"] == schedule
    assert (await ada.monitor(schedule={"every": "P1D"}))["schedule"] == {"every": "P1D"}
    assert (await ada.monitor(schedule=None))["schedule"] == {"every": "PT5M"}


async def test_a_condition_on_changes_fires_each_time_unless_told_otherwise(ada: Person) -> None:
    assert (await ada.monitor(condition="changed(price)"))["fires"] == "each_time"
    assert (await ada.monitor(condition="changed(price)", fires="on_entry"))["fires"] == "on_entry"


async def test_every_kind_of_source_is_taken_up_to_ten(ada: Person) -> None:
    sources = [
        {"type": "http", "url": SHOP, "select": {"css": ".price"}, "headers": {"Accept-Language": "de"}},
        {"type": "feed", "url": "http://127.0.0.1/feed"},
        *({"type": "http", "url": f"{SHOP}?page={i}"} for i in range(8)),
    ]
    assert (await ada.monitor(sources=sources))["sources"] == sources


@pytest.mark.parametrize(
    "text", ["Ключ 🔑 für 日本", "'; drop table event; --", "<script>alert(1)</script>", "%s {name}"]
)
async def test_any_text_that_can_be_shown_comes_back_as_it_was(ada: Person, text: str) -> None:
    made = await ada.monitor(name=text, prompt=f"{text}\n\tsecond line", condition="price < 50.0")
    read = await ada.gets("GET", path_of(made))
    assert (read["name"], read["prompt"]) == (text, f"{text}\n\tsecond line")


# Names


async def test_a_name_is_unique_for_a_person_in_any_case_of_letters_but_not_among_people(
    ada: Person, ben: Person
) -> None:
    await ada.monitor(name="Straße")
    for same in ("Straße", "STRASSE", "strasse"):
        error = await ada.is_refused("POST", "/monitors", wish(name=same), status=409)
        assert (error["code"], error["details"][0]["field"]) == ("DUPLICATE_NAME", "name")
    await ben.monitor(name="Straße")
    assert len(await ada.gets("GET", "/monitors")) == 1


async def test_a_name_that_vigil_chose_gives_way_to_one_that_is_taken(ada: Person) -> None:
    names = [(await ada.monitor())["name"] for _ in range(3)]
    assert names == [names[0], f"{names[0]} (2)", f"{names[0]} (3)"]


async def test_renaming_frees_the_old_name_and_takes_the_new_one(ada: Person) -> None:
    kettle, pot = await ada.monitor(name="Kettle"), await ada.monitor(name="Pot")
    error = await ada.is_refused("PATCH", path_of(pot), {"name": "KETTLE"}, status=409)
    assert error["code"] == "DUPLICATE_NAME"
    assert (await ada.gets("GET", path_of(pot)))["version"] == 1
    renamed = await ada.gets("PATCH", path_of(kettle), {"name": "Can"})
    assert (renamed["name"], renamed["version"]) == ("Can", 2)
    assert (await ada.gets("PATCH", path_of(pot), {"name": "Kettle"}))["name"] == "Kettle"
    await ada.is_refused("POST", "/monitors", wish(name="can"), status=409)
    await ada.monitor(name="Pot")


async def test_a_name_may_change_only_its_letters_case(ada: Person) -> None:
    made = await ada.monitor(name="kettle")
    assert (await ada.gets("PATCH", path_of(made), {"name": "Kettle"}))["name"] == "Kettle"
    await ada.is_refused("POST", "/monitors", wish(name="KETTLE"), status=409)


async def test_of_two_who_take_a_name_at_the_same_moment_one_gets_it(ada: Person) -> None:
    answers = await asyncio.gather(*(ada.asks("POST", "/monitors", wish(name="Kettle")) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409]
    assert len(await ada.gets("GET", "/monitors")) == 1


# The limit of active monitors


async def test_a_paused_monitor_frees_its_place_and_a_full_house_refuses_a_return(ada: Person) -> None:
    made = [await ada.monitor() for _ in range(MONITOR_LIMIT)]
    error = await ada.is_refused("POST", "/monitors", wish(), status=422)
    assert error["code"] == "MONITOR_LIMIT_EXCEEDED"
    await ada.gets("POST", f"{path_of(made[0])}/pause")
    replacement = await ada.monitor()
    error = await ada.is_refused("POST", f"{path_of(made[0])}/resume", status=422)
    assert error["code"] == "MONITOR_LIMIT_EXCEEDED"
    assert (await ada.gets("GET", path_of(made[0])))["status"] == "paused"
    await ada.gets("DELETE", path_of(replacement), expect=204)
    assert (await ada.gets("POST", f"{path_of(made[0])}/resume"))["status"] == "active"
    await ada.is_refused("POST", "/monitors", wish(), status=422)


async def test_the_limit_holds_when_all_come_at_once_and_is_counted_for_each_person(ada: Person, ben: Person) -> None:
    answers = await asyncio.gather(*(ada.asks("POST", "/monitors", wish(name=f"M{i}")) for i in range(8)))
    codes = [answer.status_code for answer in answers]
    assert (codes.count(201), codes.count(422)) == (MONITOR_LIMIT, 8 - MONITOR_LIMIT)
    stored = await ada.installation.stored(ada.user_id)
    assert (stored["schedules"], stored["reservations"]) == (MONITOR_LIMIT, 2 * MONITOR_LIMIT), (
        "a name and a place each"
    )
    await ben.monitor()


# Replacing and changing


async def test_replacing_takes_the_whole_wish_and_defaults_for_what_it_leaves_out(ada: Person) -> None:
    made = await ada.monitor(name="Kettle", confirmations=3, schedule={"every": "P1D"})
    replaced = await ada.gets(
        "PUT", path_of(made), wish(prompt="Is it light?", facts=[OTHER_FACT], condition="weight < 1.0", schedule=None)
    )
    assert (replaced["name"], replaced["version"]) == ("Kettle", 2), "a name that is left out stays"
    assert (replaced["prompt"], replaced["condition"], replaced["facts"]) == (
        "Is it light?",
        "weight < 1.0",
        [OTHER_FACT],
    )
    assert (replaced["confirmations"], replaced["schedule"]) == (1, {"every": "PT5M"})
    assert await ada.gets("GET", path_of(made)) == replaced


async def test_replacing_with_the_same_changes_nothing(ada: Person) -> None:
    made = await ada.monitor()
    response = await ada.asks("PUT", path_of(made), wish())
    assert (response.status_code, response.headers["ETag"]) == (200, '"1"')
    assert without(response.json()["data"], "updated_at") == without(made, "updated_at")


async def test_another_question_makes_the_state_unknown_and_another_schedule_does_not(ada: Person) -> None:
    active = await turned(ada, await ada.monitor(), State.ACTIVE)
    body = wish(schedule={"every": "PT2H"}, prompt="Is it under 50?")
    assert (await ada.gets("PUT", path_of(active), body))["state"] == "active"
    assert (await ada.gets("PATCH", path_of(active), {"confirmations": 2}))["state"] == "active"
    asked_otherwise = await ada.gets("PUT", path_of(active), wish(condition="price < 40.0"))
    assert asked_otherwise["state"] == "unknown"
    assert (await ada.gets("GET", path_of(active)))["state"] == "unknown"


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Pot"},
        {"prompt": "Say when it is cheap", "condition": "price < 50.0", "facts": wish()["facts"], "fires": "on_entry"},
        {"sources": [{"type": "feed", "url": "http://127.0.0.1/feed"}]},
        {"schedule": {"cron": "0 8 * * *", "timezone": "UTC"}},
        {"condition": "price < 40.0", "fires": "on_entry"},
        {"facts": [{"name": "price", "type": "number"}]},
        {"confirmations": 1},
        {"min_confidence": 0.0},
        {"fires": "each_time"},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_a_change_of_a_part_keeps_the_rest(ada: Person, change: Json) -> None:
    made = await ada.monitor(name="Kettle", confirmations=3, min_confidence=0.75)
    changed = await ada.gets("PATCH", path_of(made), change)
    assert {name: changed[name] for name in change} == change
    moving = ("version", "updated_at", "next_due_at", "explanation", *change)
    assert without(changed, *moving) == without(made, *moving)
    assert changed["version"] == 2
    assert await ada.gets("GET", path_of(made)) == changed


@pytest.mark.parametrize("change", [{}, {"name": None, "prompt": None, "facts": None}, {"confirmations": 3}])
async def test_a_change_that_changes_nothing_makes_no_version(ada: Person, change: Json) -> None:
    made = await ada.monitor(confirmations=3)
    response = await ada.asks("PATCH", path_of(made), change)
    assert (response.status_code, response.headers["ETag"]) == (200, '"1"')
    assert without(response.json()["data"], "updated_at") == without(made, "updated_at")


async def test_a_new_prompt_is_compiled_again_and_keeps_sources_and_schedule(ada: Person) -> None:
    made = await ada.monitor()
    changed = await ada.gets("PATCH", path_of(made), {"prompt": "Tell me when the stock rises above 7"})
    assert changed["condition"] == "stock > 7"
    assert [fact["name"] for fact in changed["facts"]] == ["stock"]
    assert (changed["sources"], changed["schedule"]) == (made["sources"], made["schedule"])
    assert changed["state"] == "unknown"


async def test_a_new_condition_fires_as_it_tells_of_things(ada: Person) -> None:
    made = await ada.monitor()
    assert (await ada.gets("PATCH", path_of(made), {"condition": "changed(price)"}))["fires"] == "each_time"
    assert (await ada.gets("PATCH", path_of(made), {"condition": "price < 50.0"}))["fires"] == "on_entry"


async def test_changes_of_different_parts_at_the_same_moment_all_count(ada: Person) -> None:
    made = await ada.monitor(name="Kettle")
    changes: list[Json] = [
        {"confirmations": 4},
        {"min_confidence": 0.25},
        {"schedule": {"every": "PT3H"}},
        {"name": "Pot"},
    ]
    answers = await asyncio.gather(*(ada.asks("PATCH", path_of(made), change) for change in changes))
    assert [answer.status_code for answer in answers] == [200] * 4
    read = await ada.gets("GET", path_of(made))
    wanted: Json = {}
    for change in changes:
        wanted |= change
    assert {name: read[name] for name in wanted} == wanted
    assert read["version"] == 5


# If-Match


def writes(monitor: Json) -> list[tuple[str, str, Any]]:
    path = path_of(monitor)
    return [
        ("PUT", path, wish(condition="price < 1.0")),
        ("PATCH", path, {"name": "Pot"}),
        ("POST", f"{path}/pause", None),
        ("POST", f"{path}/resume", None),
        ("DELETE", path, None),
    ]


@pytest.mark.parametrize("version", ['"1"', '"3"', '"0"', '"latest"', 'W/"2"', '"-1"', '"' + "9" * 5000 + '"', '""'])
async def test_a_write_on_another_version_than_the_present_one_changes_nothing(ada: Person, version: str) -> None:
    made = await ada.monitor()
    present = await ada.gets("PATCH", path_of(made), {"confirmations": 2})
    for method, path, body in writes(made):
        error = await ada.is_refused(method, path, body, status=412, headers={"If-Match": version})
        assert error["code"] == "PRECONDITION_FAILED"
    assert await ada.gets("GET", path_of(made)) == present


async def test_a_write_on_the_present_version_counts(ada: Person) -> None:
    made = await ada.monitor()
    version = 1
    for method, path, body in writes(made):
        response = await ada.asks(method, path, body, headers={"If-Match": f'"{version}"'})
        assert response.status_code == (204 if method == "DELETE" else 200), response.text
        version += 1
        assert method == "DELETE" or response.headers["ETag"] == f'"{version}"'


async def test_any_version_may_be_named_by_a_star(ada: Person) -> None:
    made = await ada.monitor()
    await ada.gets("PATCH", path_of(made), {"name": "Pot"}, headers={"If-Match": "*"})


async def test_of_several_who_write_on_one_version_one_succeeds(ada: Person) -> None:
    made = await ada.monitor()
    answers = await asyncio.gather(
        *(ada.asks("PATCH", path_of(made), {"confirmations": n}, headers={"If-Match": '"1"'}) for n in range(2, 7))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412, 412]
    assert (await ada.gets("GET", path_of(made)))["version"] == 2


# Pausing, deleting, evaluating


async def test_a_paused_monitor_is_due_no_more_and_refuses_to_be_evaluated(ada: Person) -> None:
    made = await ada.monitor()
    paused = await ada.gets("POST", f"{path_of(made)}/pause")
    assert (paused["status"], paused["next_due_at"], paused["version"]) == ("paused", None, 2)
    error = await ada.is_refused("POST", f"{path_of(made)}/evaluate", status=409)
    assert (error["code"], error["message"]) == ("CONFLICT", "this monitor is paused; resume it first")
    assert (await ada.gets("POST", f"{path_of(made)}/pause"))["version"] == 2, "pausing twice changes nothing"
    resumed = await ada.gets("POST", f"{path_of(made)}/resume")
    assert (resumed["status"], resumed["version"]) == ("active", 3)
    assert resumed["next_due_at"] is not None
    assert (await ada.gets("POST", f"{path_of(made)}/resume"))["version"] == 3


async def test_a_paused_monitor_can_be_changed_and_stays_paused(ada: Person) -> None:
    made = await ada.monitor()
    await ada.gets("POST", f"{path_of(made)}/pause")
    changed = await ada.gets("PATCH", path_of(made), {"schedule": {"every": "PT2H"}})
    assert (changed["status"], changed["next_due_at"]) == ("paused", None)


async def test_a_deleted_monitor_is_gone_its_name_and_place_are_free_and_its_history_stays(ada: Person) -> None:
    made, *_ = [await ada.monitor(name=f"M{i}") for i in range(MONITOR_LIMIT)]
    await turned(ada, made, State.ACTIVE)
    await ada.gets("DELETE", path_of(made), expect=204)
    for method, path, body in [("GET", path_of(made), None), *writes(made)[:-1]]:
        assert (await ada.is_refused(method, path, body, status=404))["code"] == "NOT_FOUND"
    await ada.is_refused("POST", f"{path_of(made)}/evaluate", status=404)
    assert made["id"] not in {monitor["id"] for monitor in await ada.gets("GET", "/monitors")}
    (archived,) = await ada.gets("GET", "/monitors?status=archived")
    assert archived["id"] == made["id"]
    assert [change["to"] for change in await ada.gets("GET", f"{path_of(made)}/changes")] == ["active"]
    await ada.monitor(name="M0")
    await ada.gets("DELETE", path_of(made), expect=204)
    stored = await ada.installation.stored(ada.user_id)
    assert (stored["schedules"], stored["reservations"]) == (MONITOR_LIMIT, 2 * MONITOR_LIMIT), (
        "deleting twice frees nothing of the monitor that took the name"
    )


async def test_an_evaluation_is_asked_for_and_can_be_followed_at_once(ada: Person) -> None:
    made = await ada.monitor()
    asked = await ada.gets("POST", f"{path_of(made)}/evaluate", expect=202)
    evaluation = await ada.gets("GET", f"{path_of(made)}/evaluations/{asked['id']}")
    assert (evaluation["id"], evaluation["monitor_id"], evaluation["status"]) == (asked["id"], made["id"], "queued")
    assert (await ada.installation.stored(ada.user_id))["requests"] == 1
    again = await ada.gets("POST", f"{path_of(made)}/evaluate", expect=202)
    assert again == asked, "one that nobody has begun is enough"
    assert (await ada.installation.stored(ada.user_id))["requests"] == 1


async def test_a_failing_monitor_is_resumed_and_keeps_its_place(ada: Person) -> None:
    made = [await ada.monitor(name=f"Kettle {n}") for n in range(MONITOR_LIMIT)]
    path = path_of(made[0])
    failing = MonitorFailing(
        failures=3,
        code="SOURCE_GONE",
        message="it is gone",
        evaluation_id=UUID(made[0]["id"]),
        since=AT,
        failed_at=AT,
    )
    await ada.installation.append(ada.user_id, UUID(made[0]["id"]), failing)
    assert (await ada.gets("GET", path))["failing"]["code"] == "SOURCE_GONE"
    resumed = await ada.gets("POST", f"{path}/resume")
    assert (resumed["status"], resumed["failing"], resumed["version"]) == ("active", None, 3)
    assert (await ada.gets("POST", f"{path}/pause"))["status"] == "paused"
    assert (await ada.gets("POST", f"{path}/resume"))["status"] == "active"
    await ada.is_refused("POST", "/monitors", wish(), status=422)
