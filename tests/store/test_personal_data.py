"""Personal data is sealed on its way into the store, opens nowhere but at its place, and is gone with its key."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect
from uuid_utils.compat import uuid7

from adapters.aes_gcm import new_key
from adapters.personal_data import (
    DestroyedKey,
    HiddenKey,
    Key,
    MissingKey,
    PersonKey,
    PersonKeyMissing,
    SealBroken,
    hide_event,
    open_event,
    seal_event,
)
from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_log import PostgresLog
from adapters.postgres_person_keys import _ROTATE, HiddenKeys, PersonKeys
from adapters.postgres_pool import Pool
from adapters.postgres_snapshots import PostgresSnapshots
from adapters.wrapping_keys import (
    WrappedKeyBroken,
    WrappingKeyMissing,
    WrappingKeys,
    installation_wrapping_keys,
    known_wrapping_keys,
)
from commands.event_store import (
    AlreadyReserved,
    Companion,
    ErasePerson,
    KeepCredential,
    KeepSchedule,
    PersonErased,
    Release,
    Reserve,
    Snapshot,
)
from domain.event import Event, Metadata, NewEvents, event_types, personal_fields
from domain.event_codec import AGGREGATES, decode, encode
from domain.log_entry import LogEntry
from domain.personal_data import HIDDEN, Personal, change_personal, placeholder, sealed_text
from domain.schedule import Every
from domain.user import EmailVerified, RoleGranted, UserErased, UserRegistered
from tests.conftest import AT
from tests.domain.test_event import values_of

OWNER, STREAM = uuid7(), uuid7()
KEY = PersonKey(new_key())
ADA = UserRegistered(email="ada@example.org", name="Ada Lovelace", timezone="UTC", registered_at=AT)

NOT_PERSONAL = {
    "evaluation.completed": {
        "condition",
        "evidence[].hash",
        "evidence[].outcome",
        "evidence[].url",
        "model",
        "program",
        "provider",
        "reason",
    },
    "evaluation.fact_extracted": {
        "fact.evidence_hash",
        "fact.keys",
        "fact.name",
        "fact.quote",
        "fact.reason",
        "fact.source_url",
        "fact.unit",
        "fact.value",
    },
    "evaluation.failed": {"code", "message", "evidence[].hash", "evidence[].outcome", "evidence[].url"},
    "model.called": {"provider", "model", "prices", "message"},
    "monitor.failing": {"code", "message"},
    "notification.sent": {"message_id"},
    "notification.suppressed": {"reason"},
    "trigger.suppressed": {"reason"},
    "user.registered": {"timezone"},
    "user.role_granted": {"role"},
}
"""Texts of people's events that stay in the clear: what the world said, codes and ids (docs/personal-data.md). In a plan:"""
SELECTS = ("css", "csv", "csv_row", "feed", "jsonpath", "named", "product", "regex", "text", "xpath")
NOT_PERSONAL_IN_PLAN = {
    "plan.condition",
    "plan.reset_condition",
    "plan.facts[].name",
    "plan.facts[].unit",
    *(f"plan.facts[].select.{how}" for how in SELECTS),
    "plan.schedule.line",
    "plan.schedule.timezone",
    *(f"plan.sources[].select.{how}" for how in SELECTS),
    "plan.sources[].url",
    "plan.sources[].query",
    "plan.provider",
}


def sealed(event: Event, key: Key = KEY, *, stream_id: UUID = STREAM, version: int = 1) -> str:
    return seal_event(event, lambda _: key, owner_id=OWNER, stream_id=stream_id, version=version).decode()


def opened(
    data: str, tag: str, key: Key = KEY, *, owner_id: UUID = OWNER, stream_id: UUID = STREAM, version: int = 1
) -> Event:
    text = open_event(data, lambda _: key, tag=tag, owner_id=owner_id, stream_id=stream_id, version=version)
    return decode(tag, event_types()[tag].tag_version, text)


def personal_values(data: str, tag: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    change_personal(json.loads(data), personal_fields(tag), lambda place, _kind, value: found.setdefault(place, value))
    return found


def texts_in(info: inspect.Type, path: str = "") -> set[str]:
    """The places of everything in a type that can hold a text of any kind."""
    match info:
        case inspect.StrType():
            return {path}
        case inspect.StructType(fields=fields):
            return {p for f in fields for p in texts_in(f.type, f"{path}.{f.encode_name}".removeprefix("."))}
        case inspect.UnionType(types=types):
            return {place for each in types for place in texts_in(each, path)}
        case inspect.VarTupleType(item_type=item):
            return texts_in(item, f"{path}[]")
        case inspect.ListType(item_type=item):
            return texts_in(item, path)
        case inspect.DictType():
            return {path}
        case _:
            return set()


@pytest.mark.parametrize("tag", sorted(event_types()))
@settings(max_examples=10)
@given(data=st.data())
def test_every_event_opens_as_it_was_sealed(tag: str, data: st.DataObject) -> None:
    event = data.draw(values_of(event_types()[tag]))
    stored = sealed(event)
    assert opened(stored, tag) == event
    assert all(sealed_text(value) is not None for value in personal_values(stored, tag).values())
    if not event.personal:
        assert stored.encode() == encode(event)


@pytest.mark.parametrize("tag", sorted(tag for tag, cls in event_types().items() if cls.personal))
@settings(max_examples=5)
@given(data=st.data())
def test_without_the_key_there_are_placeholders_that_are_always_the_same(tag: str, data: st.DataObject) -> None:
    event = data.draw(values_of(event_types()[tag]))
    gone = DestroyedKey(OWNER)
    after = opened(sealed(event), tag, gone)
    assert after == opened(sealed(event, PersonKey(new_key())), tag, gone)
    assert after == opened(sealed(event, gone), tag, gone)
    kinds = personal_fields(tag)
    for place, value in personal_values(encode(after).decode(), tag).items():
        path = ".".join("*" if step.isdigit() else step for step in place.split("."))
        assert value == placeholder(kinds[path], OWNER)


def test_every_text_of_a_persons_event_is_sealed_or_known_not_to_be_personal() -> None:
    """Whoever adds a field decides here, and in docs/personal-data.md, what it is."""
    assert AGGREGATES
    for tag, cls in event_types().items():
        if tag.startswith("operation."):
            continue
        personal = {path.replace(".*", "[]") for path in cls.personal}
        texts = texts_in(inspect.type_info(cls))
        found = {place for place in texts if place.removesuffix("[]") not in personal}
        allowed = NOT_PERSONAL_IN_PLAN if tag in {"monitor.created", "monitor.plan_revised"} else set()
        assert found - {"inputs"} == NOT_PERSONAL.get(tag, set()) | allowed, tag
        assert personal <= {place.removesuffix("[]") for place in texts}, f"{tag} seals a field that is not there"


@pytest.mark.parametrize(
    "moved",
    [
        {"stream_id": uuid7()},
        {"version": 2},
        {"tag": "user.email_verified"},
        {"key": PersonKey(new_key())},
    ],
    ids=["another stream", "another version", "another event", "another person"],
)
def test_a_ciphertext_opens_only_where_it_was_written(moved: dict[str, Any]) -> None:
    tag = moved.pop("tag", ADA.tag)
    where = {"key": KEY, "stream_id": STREAM, "version": 1, **moved}
    with pytest.raises(SealBroken, match=rf"the field email of {tag}, version {where['version']} of stream"):
        opened(sealed(ADA), tag, where.pop("key"), **where)


def test_a_ciphertext_of_another_field_or_a_changed_one_does_not_open() -> None:
    fields = json.loads(sealed(ADA))
    swapped = {**fields, "email": fields["name"], "name": fields["email"]}
    with pytest.raises(SealBroken, match="the field email"):
        opened(json.dumps(swapped), ADA.tag)
    text = fields["name"]["sealed"]
    changed = text[:20] + ("A" if text[20] != "A" else "B") + text[21:]
    for damaged in (changed, text[:8], "", "not base64!"):
        with pytest.raises(SealBroken, match="the field name"):
            opened(json.dumps({**fields, "name": {"sealed": damaged}}), ADA.tag)


def test_a_key_that_is_missing_is_no_erasure() -> None:
    with pytest.raises(PersonKeyMissing, match=str(OWNER)):
        opened(sealed(ADA), ADA.tag, MissingKey(OWNER))


def test_an_event_from_before_sealing_is_read_as_it_stands() -> None:
    assert opened(encode(ADA).decode(), ADA.tag, MissingKey(OWNER)) == ADA


def test_what_is_sealed_can_be_hidden_and_then_nothing_can_be_written() -> None:
    shown = json.loads(hide_event(sealed(ADA), tag=ADA.tag))
    assert (shown["email"], shown["name"], shown["timezone"]) == (HIDDEN, HIDDEN, "UTC")
    with pytest.raises(TypeError):
        sealed(ADA, HiddenKey())


def test_the_placeholders_have_the_types_of_their_fields() -> None:
    assert placeholder(Personal.ADDRESS, OWNER) == f"{OWNER}@erased.invalid"
    assert [placeholder(kind, OWNER) for kind in (Personal.TEXT, Personal.LIST, Personal.MAPPING)] == ["erased", [], {}]


# The store


class Sealing:
    """A store with keys of its own, over a database."""

    def __init__(self, pool: Pool, *wrapping: bytes) -> None:
        self.pool = pool
        self.wrapping = wrapping or (new_key(),)
        self.people = PersonKeys(pool, WrappingKeys(self.wrapping))
        snapshots = PostgresSnapshots(pool, self.people)
        self.store = PostgresEventStore(pool, new_id=uuid7, people=self.people, snapshots=snapshots)

    async def append(
        self, owner_id: UUID, *events: Event, after: int = 0, companions: tuple[Companion, ...] = ()
    ) -> None:
        new = NewEvents(stream_id=owner_id, owner_id=owner_id, expected_version=after, events=events)
        await self.store.append([new], metadata=Metadata(correlation_id=uuid7(), actor="test"), companions=companions)

    async def person(self, *companions: Companion) -> UUID:
        owner_id = uuid7()
        await self.append(owner_id, ADA, companions=companions)
        return owner_id

    async def erase(self, owner_id: UUID, *, after: int = 1) -> None:
        await self.append(owner_id, UserErased(erased_at=AT), after=after, companions=(ErasePerson(owner_id),))

    async def events(self, stream_id: UUID) -> list[Event]:
        return [stored.event for stored in await self.store.load(stream_id)]

    async def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        async with self.pool.connection() as connection:
            return await (await connection.execute(query.encode(), values)).fetchall()


@pytest.fixture
async def sealing(pool: Pool) -> Sealing:
    return Sealing(pool)


async def test_the_store_holds_ciphertext_and_loads_what_was_said(sealing: Sealing) -> None:
    owner_id = await sealing.person()
    assert await sealing.events(owner_id) == [ADA]
    ((data,),) = await sealing.rows("select data::text from event")
    assert ADA.email not in data
    assert f'"{ADA.name}"' not in data
    assert json.loads(data)["timezone"] == "UTC"
    assert await sealing.rows(
        "select wrapped is not null, destroyed_at from person_key where owner_id = %s", owner_id
    ) == [(True, None)]


async def test_events_without_personal_fields_need_no_key(sealing: Sealing) -> None:
    owner_id = uuid7()
    await sealing.append(owner_id, RoleGranted(role="member", granted_at=AT))
    assert await sealing.rows("select * from person_key") == []
    assert await sealing.events(owner_id) == [RoleGranted(role="member", granted_at=AT)]


async def test_one_person_has_one_key_however_many_make_it_at_once(sealing: Sealing) -> None:
    owner_id = uuid7()
    keys = await asyncio.gather(*(sealing.people.made_for([owner_id]) for _ in range(8)))
    data = [seal_event(ADA, key_of, owner_id=owner_id, stream_id=STREAM, version=1).decode() for key_of in keys]
    assert {opened(each, ADA.tag, keys[0](owner_id)) for each in data} == {ADA}


async def test_after_erasure_a_replay_reads_placeholders_and_so_does_what_comes_later(sealing: Sealing) -> None:
    owner_id, other = await sealing.person(), await sealing.person()
    await sealing.erase(owner_id)
    await sealing.append(owner_id, EmailVerified(email="ada@example.org", verified_at=AT), after=2)
    address = f"{owner_id}@erased.invalid"
    assert await sealing.events(owner_id) == [
        msgspec.structs.replace(ADA, email=address, name="erased"),
        UserErased(erased_at=AT),
        EmailVerified(email=address, verified_at=AT),
    ]
    assert await sealing.store.is_erased(owner_id)
    assert await sealing.events(other) == [ADA]
    assert not await sealing.store.is_erased(other)


async def test_what_was_sealed_a_moment_before_the_erasure_and_stored_after_it_is_gone_too(sealing: Sealing) -> None:
    owner_id = await sealing.person()
    key_of = await sealing.people.made_for([owner_id])
    late = LogEntry(
        0, 3, 3, owner_id, 3, owner_id, ADA.tag, 1,
        seal_event(ADA, key_of, owner_id=owner_id, stream_id=owner_id, version=3).decode(), "{}", uuid7(), "",
    )  # fmt: skip
    assert "Lovelace" in (await sealing.people.open_entries([late]))[0].data
    await sealing.erase(owner_id)
    assert "Lovelace" not in (await sealing.people.open_entries([late]))[0].data


async def test_nothing_is_left_behind_for_somebody_who_was_erased(sealing: Sealing) -> None:
    owner_id = await sealing.person()
    await sealing.erase(owner_id)
    late: list[Companion] = [
        Reserve("user-email", "ada@example.org", owner_id),
        KeepCredential(owner_id, "hash", AT),
        KeepSchedule(uuid7(), owner_id, Every(seconds=60), active=True, due_at=AT),
    ]
    for companion in late:
        with pytest.raises(PersonErased):
            await sealing.append(owner_id, RoleGranted(role="member", granted_at=AT), after=2, companions=(companion,))
    assert len(await sealing.events(owner_id)) == 2


@pytest.mark.parametrize("erased_first", [True, False])
async def test_an_erasure_and_a_command_at_the_same_moment_leave_nothing(sealing: Sealing, erased_first: bool) -> None:  # noqa: FBT001  a parameter of the test
    owner_id, monitor_id = await sealing.person(), uuid7()
    keep = KeepSchedule(monitor_id, owner_id, Every(seconds=60), active=True, due_at=AT)
    new = NewEvents(
        stream_id=monitor_id, owner_id=owner_id, expected_version=0, events=(RoleGranted(role="x", granted_at=AT),)
    )
    command = sealing.store.append([new], metadata=Metadata(correlation_id=uuid7(), actor="test"), companions=[keep])
    acts = [sealing.erase(owner_id), command] if erased_first else [command, sealing.erase(owner_id)]
    outcomes = await asyncio.gather(*acts, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} <= {type(None), PersonErased}
    assert await sealing.rows("select * from schedule") == []
    order = await sealing.rows("select stream_id from event where owner_id = %s order by tx, seq", owner_id)
    assert order[-1] == (owner_id,), "what was written at all was written before the erasure"


async def test_reserved_values_tell_nothing_and_are_still_refused_to_others(sealing: Sealing) -> None:
    first, second = uuid7(), uuid7()
    taken = Reserve("user-email", "ada@example.org", first)
    await sealing.append(first, ADA, companions=(taken,))
    ((value,),) = await sealing.rows("select value from reservation")
    assert value == await sealing.people.blind("user-email", "ada@example.org")
    assert len(value) == 64
    assert value != await sealing.people.blind("other", "ada@example.org")
    again = msgspec.structs.replace(taken, stream_id=second)
    with pytest.raises(AlreadyReserved):
        await sealing.append(second, ADA, companions=(again,))
    await sealing.append(
        first,
        RoleGranted(role="member", granted_at=AT),
        after=1,
        companions=(Release("user-email", "ada@example.org"),),
    )
    await sealing.append(second, ADA, companions=(again,))


async def test_reservations_survive_another_wrapping_key(sealing: Sealing) -> None:
    before = await sealing.people.blind("user-email", "ada@example.org")
    rotated = Sealing(sealing.pool, new_key(), *sealing.wrapping)
    assert [count async for count in rotated.people.rotate()] == [1]
    only_new = Sealing(sealing.pool, rotated.wrapping[0])
    assert await only_new.people.blind("user-email", "ada@example.org") == before


async def test_a_snapshot_is_sealed_for_its_place_and_gone_with_the_key(sealing: Sealing) -> None:
    owner_id = await sealing.person()
    state = b'{"name":"Ada Lovelace"}'
    place = b"snapshot 1"
    kept = await sealing.people.seal(owner_id, state, associated=place)
    assert kept is not None
    assert b"Ada" not in kept
    assert await sealing.people.unseal(owner_id, kept, associated=place) == state
    assert await sealing.people.unseal(owner_id, kept, associated=b"snapshot 2") is None
    (event,) = await sealing.store.load(owner_id)
    snapshot = Snapshot(
        stream_id=owner_id, owner_id=owner_id, version=1, event_id=event.event_id, shape="user", state=state
    )
    await sealing.store.keep_snapshot(snapshot)
    assert (await sealing.store.load_since_snapshot(owner_id, shape="user"))[0] == snapshot
    await sealing.erase(owner_id)
    assert await sealing.rows("select * from snapshot") == []
    await sealing.store.keep_snapshot(snapshot)
    assert await sealing.rows("select * from snapshot") == []
    assert await sealing.people.unseal(owner_id, kept, associated=place) is None


async def test_a_store_that_hides_shows_that_something_is_there(sealing: Sealing) -> None:
    owner_id = await sealing.person()
    hiding = PostgresEventStore(sealing.pool, new_id=uuid7, people=HiddenKeys())
    (stored,) = await hiding.load(owner_id)
    assert stored.event == msgspec.structs.replace(ADA, email=HIDDEN, name=HIDDEN)
    with pytest.raises(TypeError):
        await hiding.append(
            [NewEvents(stream_id=uuid7(), owner_id=uuid7(), expected_version=0, events=(ADA,))],
            metadata=Metadata(correlation_id=uuid7(), actor="test"),
        )


async def test_an_event_moved_in_the_store_does_not_open(sealing: Sealing) -> None:
    owner_id = await sealing.person()
    copied = uuid7()
    await sealing.rows(
        "insert into event (stream_id, version, owner_id, type, type_version, data, metadata, event_id)"
        " select %s, 1, owner_id, type, type_version, data, metadata, gen_random_uuid() from event returning 1",
        copied,
    )
    with pytest.raises(SealBroken, match=f"version 1 of stream {copied}"):
        await sealing.store.load(copied)
    assert await sealing.events(owner_id) == [ADA]
    while await PostgresLog(sealing.pool).sequence_batch():
        pass
    entries = [entry for p in range(16) for entry in await PostgresLog(sealing.pool).read(p, after_place=0, limit=10)]
    assert len(entries) == 2
    with pytest.raises(SealBroken):
        await sealing.people.open_entries(entries)


# Wrapping keys


async def test_rotation_wraps_every_key_anew_and_changes_no_event(sealing: Sealing) -> None:
    people = [await sealing.person() for _ in range(7)]
    await sealing.erase(people[0])
    stored = await sealing.rows("select data::text from event order by seq")
    both = Sealing(sealing.pool, new_key(), *sealing.wrapping)
    assert sum([count async for count in both.people.rotate()]) == 6
    assert [count async for count in both.people.rotate()] == []
    only_new = Sealing(sealing.pool, both.wrapping[0])
    await only_new.people.check()
    assert await only_new.events(people[1]) == [ADA]
    assert await only_new.store.is_erased(people[0])
    assert await sealing.rows("select data::text from event order by seq") == stored
    status = await only_new.people.status()
    assert (status.wrapped_by, status.destroyed, status.missing) == ({status.first: 6}, 1, ())


async def test_an_interrupted_rotation_goes_on_where_it_was(sealing: Sealing, monkeypatch: pytest.MonkeyPatch) -> None:
    people = [await sealing.person() for _ in range(5)]
    monkeypatch.setattr("adapters.postgres_person_keys.ROTATED_AT_ONCE", 2)
    both = Sealing(sealing.pool, new_key(), *sealing.wrapping)
    recorded: list[int] = []

    async def record(keys: int) -> None:
        recorded.append(keys)

    async with aclosing(_generator(both.people.rotate(record=record))) as interrupted:
        assert await anext(interrupted) == 2
    assert recorded == [2]
    assert [await both.events(person) for person in people] == [[ADA]] * 5
    assert [count async for count in both.people.rotate(record=record)] == [2, 1]
    assert recorded == [2, 2, 1]


async def _generator(counts: AsyncIterator[int]) -> Any:  # noqa: ANN401  an async generator, to be closed
    async for count in counts:
        yield count


async def test_a_key_destroyed_while_it_is_being_rotated_stays_destroyed(sealing: Sealing) -> None:
    owner_id = await sealing.person()
    both = PersonKeys(sealing.pool, WrappingKeys([new_key(), *sealing.wrapping]))
    ((wrapped, by),) = await sealing.rows("select wrapped, wrapping_key_id from person_key")
    late = both._wrapped_anew(owner_id, wrapped, by)
    await sealing.erase(owner_id)
    async with sealing.pool.connection() as connection:
        assert (await connection.execute(_ROTATE, late)).rowcount == 0
    assert await sealing.store.is_erased(owner_id)


async def test_a_wrapping_key_that_is_not_here_is_an_error_that_names_it(sealing: Sealing) -> None:
    owner_id = await sealing.person()
    stranger = Sealing(sealing.pool)
    missing = WrappingKeys(sealing.wrapping).first_id
    for act in (stranger.people.check(), stranger.store.load(owner_id), stranger.people.made_for([owner_id])):
        with pytest.raises(WrappingKeyMissing, match=missing):
            await act
    assert (await stranger.people.status()).missing == (missing,)


async def test_a_wrapped_key_does_not_pass_for_another_persons(sealing: Sealing) -> None:
    first, second = await sealing.person(), await sealing.person()
    await sealing.rows(
        "update person_key k set wrapped = o.wrapped from person_key o where k.owner_id = %s and o.owner_id = %s returning 1",
        first,
        second,
    )
    with pytest.raises(WrappedKeyBroken, match=str(first)):
        await sealing.store.load(first)


def test_the_wrapping_key_is_configured_or_kept_or_derived(tmp_path: Path) -> None:
    made = installation_wrapping_keys(tmp_path / "a", None)
    assert installation_wrapping_keys(tmp_path / "a", None).ids == made.ids
    assert (tmp_path / "a" / "wrapping_key").stat().st_mode & 0o777 == 0o600
    secret = "a secret for tests that is long enough"
    derived = installation_wrapping_keys(tmp_path / "b", secret)
    assert installation_wrapping_keys(tmp_path / "c", secret).ids == derived.ids != made.ids
    assert not (tmp_path / "b").exists()
    given = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    both = installation_wrapping_keys(tmp_path / "a", None, [given])
    assert both.ids[1:] == made.ids
    assert both.first_id not in made.ids
    assert installation_wrapping_keys(tmp_path / "d", None, [given]).ids == [both.first_id]


def test_who_only_looks_at_the_wrapping_keys_makes_none(tmp_path: Path) -> None:
    secret, given = "a secret for tests that is long enough", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    assert known_wrapping_keys(tmp_path, None) is None
    for configured in ((None, [given]), (secret, []), (secret, [given])):
        known = known_wrapping_keys(tmp_path, *configured)
        assert known is not None
        assert known.ids == installation_wrapping_keys(tmp_path, *configured).ids
    assert list(tmp_path.iterdir()) == []
    made = installation_wrapping_keys(tmp_path, None)
    known = known_wrapping_keys(tmp_path, secret, [given])
    assert known is not None
    assert known.ids[1:] == made.ids


def test_a_key_file_that_holds_no_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "wrapping_key").write_text("what is this")
    with pytest.raises(Exception, match="put the one back that was there"):
        installation_wrapping_keys(tmp_path, None)
    for wrong in ("", "AAAA", "not base64"):
        with pytest.raises(ValueError, match="32 random bytes"):
            installation_wrapping_keys(tmp_path / "e", None, [wrong])
