"""Register, verify, log in, refresh, log out: the commands with the real store and the real adapters."""

import asyncio
import dataclasses
import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from adapters.argon2_passwords import Argon2Passwords
from adapters.hmac_link_tokens import HmacLinkTokens
from adapters.jwt_tokens import JwtAccessTokens
from adapters.mail_folder import MailFolder, forget_mail_to
from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_identity import PostgresAccounts, PostgresSessions
from adapters.postgres_pool import Pool
from commands.caller import Principal, TokenInvalid
from commands.event_store import ConcurrentAppend
from commands.identity import (
    IdentityCommands,
    InvalidCredentials,
    RegistrationClosed,
    SessionInvalid,
    TokenPair,
    check_password,
    normalise_email,
)
from commands.identity_ports import LinkInvalid
from commands.shell import Shell
from domain.errors import InvalidInput, NotFound
from domain.event import Event, Metadata, NewEvents
from domain.user import (
    EmailVerificationRequested,
    EmailVerified,
    RegistrationRepeated,
    RoleGranted,
    UserRegistered,
)
from tests.conftest import AT

SECRET = b"an installation secret of 36 letters"
ADDRESS, PASSWORD = "ada@example.com", "a few plain words"


class CountedPasswords(Argon2Passwords):
    """Counts the slow hashes, and can hold the answers of verifying back."""

    def __init__(self, *, passes: int = 1) -> None:
        super().__init__(passes=passes, memory_kib=8, lanes=1)
        self.computed = 0
        self.verified = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def hash(self, password: str) -> str:
        self.computed += 1
        return await super().hash(password)

    async def verify(self, password_hash: str | None, password: str) -> bool:
        self.computed += 1
        fits = await super().verify(password_hash, password)
        self.verified.set()
        await self.go_on.wait()
        return fits


@dataclass
class World:
    """The commands, and what a person has beside them: a mailbox and a clock."""

    pool: Pool
    now: datetime = AT
    open: bool = True
    passwords: CountedPasswords = field(default_factory=CountedPasswords)
    links: HmacLinkTokens = field(default_factory=lambda: HmacLinkTokens([SECRET]))

    def __post_init__(self) -> None:
        self.store = PostgresEventStore(self.pool, new_id=uuid7)
        self.access = JwtAccessTokens([SECRET], issuer="http://127.0.0.1:8000", now=lambda: self.now, new_id=uuid7)
        self.identity = self.with_passwords(self.passwords)

    def with_passwords(self, passwords: CountedPasswords) -> IdentityCommands:
        return IdentityCommands(
            shell=Shell(self.store, now=lambda: self.now, new_id=uuid7),
            passwords=passwords,
            links=self.links,
            accounts=PostgresAccounts(self.pool),
            sessions=PostgresSessions(self.pool, new_id=uuid7),
            access=self.access,
            registration_open=lambda: self.open,
        )

    async def register(self, email: str = ADDRESS, password: str = PASSWORD, **other: str) -> UUID:
        profile = {"name": "Ada", "timezone": "UTC", **other}
        return await self.identity.register(
            email=email, password=password, name=profile["name"], timezone=profile["timezone"], correlation_id=uuid7()
        )

    async def verify(self, token: str) -> UUID:
        return await self.identity.verify_email(token, correlation_id=uuid7())

    async def log_in(self, email: str = ADDRESS, password: str = PASSWORD) -> TokenPair:
        return await self.identity.log_in(email=email, password=password)

    async def events(self, user_id: UUID) -> list[Event]:
        return [stored.event for stored in await self.store.load(user_id)]

    async def links_mailed_to(self, user_id: UUID) -> list[str]:
        requested = [event for event in await self.events(user_id) if isinstance(event, EmailVerificationRequested)]
        return [self.links.make("verify-email", user_id, event.token_id) for event in requested]

    async def member(self, email: str = ADDRESS, password: str = PASSWORD) -> UUID:
        """Somebody who has registered and verified."""
        user_id = await self.register(email, password)
        return await self.verify((await self.links_mailed_to(user_id))[-1])


@pytest.fixture
def world(pool: Pool) -> World:
    return World(pool)


async def test_a_person_registers_verifies_logs_in_refreshes_and_logs_out(world: World) -> None:
    user_id = await world.register("Ada@Example.com", name=" Ada ", timezone="Europe/Berlin")
    registered, requested = await world.events(user_id)
    assert registered == UserRegistered(email=ADDRESS, name="Ada", timezone="Europe/Berlin", registered_at=AT)
    assert isinstance(requested, EmailVerificationRequested)
    assert (requested.email, requested.expires_at) == (ADDRESS, AT + timedelta(hours=24))
    with pytest.raises(NotFound):
        await world.identity.address_of(user_id)

    assert await world.verify((await world.links_mailed_to(user_id))[0]) == user_id
    assert (await world.events(user_id))[-1] == EmailVerified(email=ADDRESS, verified_at=AT)
    assert await world.identity.address_of(user_id) == ADDRESS

    pair = await world.log_in("ADA@example.COM")
    assert (pair.token_type, pair.expires_in) == ("Bearer", 900)
    principal = Principal(user_id=user_id, roles=frozenset({"member"}), expires_at=AT + timedelta(seconds=900))
    assert world.access.read(pair.access_token) == principal

    refreshed = await world.identity.refresh(pair.refresh_token)
    assert world.access.read(refreshed.access_token) == principal
    assert refreshed.refresh_token != pair.refresh_token
    await world.identity.log_out(refreshed.refresh_token)
    with pytest.raises(SessionInvalid):
        await world.identity.refresh(refreshed.refresh_token)


async def test_a_role_that_was_granted_is_in_the_next_token(world: World) -> None:
    user_id = await world.member()
    pair = await world.log_in()
    granted = NewEvents(
        stream_id=user_id,
        owner_id=user_id,
        expected_version=len(await world.events(user_id)),
        events=(RoleGranted(role="auditor", granted_at=AT),),
    )
    await world.store.append([granted], metadata=Metadata(correlation_id=uuid7(), actor="test"))
    refreshed = await world.identity.refresh(pair.refresh_token)
    assert world.access.read(refreshed.access_token).roles == {"member", "auditor"}


async def test_a_spent_refresh_token_ends_the_session_for_both(world: World) -> None:
    await world.member()
    stolen = (await world.log_in()).refresh_token
    mine = (await world.identity.refresh(stolen)).refresh_token
    for token in (stolen, mine):
        with pytest.raises(SessionInvalid):
            await world.identity.refresh(token)


async def test_registering_a_verified_address_again_changes_nothing_and_its_owner_is_told(world: World) -> None:
    user_id = await world.member()
    assert await world.register(password="another password", name="Mallory") == user_id
    assert (await world.events(user_id))[-1] == RegistrationRepeated(email=ADDRESS, repeated_at=AT)
    await world.log_in()
    with pytest.raises(InvalidCredentials):
        await world.log_in(password="another password")


async def test_an_unverified_account_is_taken_over_by_who_registers_next_and_the_old_password_dies(
    world: World,
) -> None:
    user_id = await world.register(password="the attacker's password")
    assert await world.register() == user_id
    old_link, new_link = await world.links_mailed_to(user_id)
    with pytest.raises(InvalidInput, match="no longer works"):
        await world.verify(old_link)
    await world.verify(new_link)
    await world.log_in()
    with pytest.raises(InvalidCredentials):
        await world.log_in(password="the attacker's password")


async def test_a_log_in_under_way_while_the_account_is_taken_over_does_not_open_it(world: World) -> None:
    """The old password was read and fitted before it died; the owner verifies during the slow hash."""
    await world.register(password="the attacker's password")
    world.passwords.go_on.clear()
    attack = asyncio.ensure_future(world.log_in(password="the attacker's password"))
    await world.passwords.verified.wait()
    await world.member()
    world.passwords.go_on.set()
    with pytest.raises(InvalidCredentials):
        await attack


async def test_registering_costs_one_hash_and_the_same_statements_for_a_new_and_a_taken_address(world: World) -> None:
    read: list[str] = []

    class CountedStore(PostgresEventStore):
        async def load(self, stream_id: UUID, *, after_version: int = 0) -> Any:  # noqa: ANN401  as the store
            read.append("load")
            return await super().load(stream_id, after_version=after_version)

        async def append(self, *given: Any, **named: Any) -> None:  # noqa: ANN401  as the store
            read.append("append")
            await super().append(*given, **named)

    class CountedAccounts(PostgresAccounts):
        async def user_with(self, email: str) -> UUID | None:
            read.append("user_with")
            return await super().user_with(email)

    store = CountedStore(world.pool, new_id=uuid7)
    world.identity = IdentityCommands(
        shell=Shell(store, now=lambda: AT, new_id=uuid7),
        passwords=world.passwords,
        links=world.links,
        accounts=CountedAccounts(world.pool),
        sessions=world.identity.sessions,
        access=world.access,
        registration_open=lambda: True,
    )
    await world.member("verified@example.com")
    await world.register("unverified@example.com")
    for address in ("verified@example.com", "unverified@example.com", "new@example.com"):
        read.clear()
        world.passwords.computed = 0
        await world.register(address)
        assert (read, world.passwords.computed) == (["user_with", "load", "append"], 1)


async def test_twenty_registrations_of_one_address_at_once_make_one_account_and_all_succeed(world: World) -> None:
    users = await asyncio.gather(*(world.register() for _ in range(20)))
    assert len(set(users)) == 1
    events = await world.events(users[0])
    assert [type(event) for event in events[:2]] == [UserRegistered, EmailVerificationRequested]
    assert {type(event) for event in events[2:]} == {EmailVerificationRequested}
    await world.verify((await world.links_mailed_to(users[0]))[-1])
    await world.log_in()


async def test_who_loses_every_race_is_told_to_try_again_when_verifying_and_nothing_when_registering(
    world: World,
) -> None:
    """A conflict on registering would tell that there is an account; those who won have caused the mail."""
    user_id = await world.register()
    (link,) = await world.links_mailed_to(user_id)

    class OvertakenStore(PostgresEventStore):
        async def append(self, *_given: Any, **_named: Any) -> None:  # noqa: ANN401  as the store
            raise ConcurrentAppend

    shell = Shell(OvertakenStore(world.pool, new_id=uuid7), now=lambda: AT, new_id=uuid7)
    world.identity = dataclasses.replace(world.identity, shell=shell)
    assert await world.register() == user_id
    with pytest.raises(ConcurrentAppend):
        await world.verify(link)


async def test_every_failed_log_in_is_the_same_exception_after_one_hash(world: World) -> None:
    await world.member()
    await world.register("unverified@example.com")
    told = set()
    for email, password in (
        (ADDRESS, "a wrong password"),
        (ADDRESS, ""),
        (ADDRESS, PASSWORD + "x" * 10_000),
        ("unknown@example.com", PASSWORD),
        ("unverified@example.com", PASSWORD),
        ("unverified@example.com", "a wrong password"),
        ("no address", PASSWORD),
        ("", ""),
    ):
        world.passwords.computed = 0
        with pytest.raises(InvalidCredentials) as failed:
            await world.log_in(email, password)
        told.add((type(failed.value), failed.value.code, failed.value.message, failed.value.field, str(failed.value)))
        assert world.passwords.computed == 1
    assert len(told) == 1


async def test_a_log_in_makes_the_stored_hash_as_strong_as_todays(world: World) -> None:
    user_id = await world.member()
    accounts = PostgresAccounts(world.pool)
    weak = await accounts.password_hash(user_id)
    stronger = world.with_passwords(CountedPasswords(passes=2))
    await stronger.log_in(email=ADDRESS, password=PASSWORD)
    kept = await accounts.password_hash(user_id)
    assert kept is not None
    assert kept != weak
    assert "t=2" in kept
    await stronger.log_in(email=ADDRESS, password=PASSWORD)
    assert await accounts.password_hash(user_id) == kept


async def test_a_verification_link_works_once(world: World) -> None:
    user_id = await world.register()
    (link,) = await world.links_mailed_to(user_id)
    await world.verify(link)
    with pytest.raises(InvalidInput, match="no longer works"):
        await world.verify(link)


async def test_of_twenty_redemptions_at_once_exactly_one_succeeds_and_the_rest_are_told_why(world: World) -> None:
    user_id = await world.register()
    (link,) = await world.links_mailed_to(user_id)
    outcomes = await asyncio.gather(*(world.verify(link) for _ in range(20)), return_exceptions=True)
    assert [outcome for outcome in outcomes if isinstance(outcome, UUID)] == [user_id]
    assert sum(isinstance(outcome, InvalidInput) for outcome in outcomes) == 19
    assert sum(isinstance(event, EmailVerified) for event in await world.events(user_id)) == 1


async def test_a_verification_link_expires_after_a_day(world: World) -> None:
    user_id = await world.register()
    (link,) = await world.links_mailed_to(user_id)
    world.now = AT + timedelta(hours=24, seconds=1)
    with pytest.raises(InvalidInput, match="no longer works"):
        await world.verify(link)
    world.now = AT + timedelta(hours=24)
    assert await world.verify(link) == user_id


@pytest.mark.parametrize(
    "forge",
    [
        lambda links, _user, _token: links.make("verify-email", UUID(int=1), UUID(int=2)),
        lambda links, user, _token: links.make("verify-email", user, UUID(int=2)),
        lambda links, user, token: links.make("reset-password", user, token),
        lambda _links, user, token: HmacLinkTokens([b"the secret of another installation"]).make(
            "verify-email", user, token
        ),
        lambda links, user, token: links.make("verify-email", user, token)[:-1],
        lambda _links, user, _token: str(user),
        lambda *_: "",
    ],
    ids=["nobody's", "another id", "another purpose", "another secret", "cut", "a bare id", "empty"],
)
async def test_a_link_that_was_not_mailed_to_this_person_is_refused(
    world: World, forge: Callable[[HmacLinkTokens, UUID, UUID], str]
) -> None:
    user_id = await world.register()
    requested = (await world.events(user_id))[-1]
    assert isinstance(requested, EmailVerificationRequested)
    with pytest.raises(InvalidInput):
        await world.verify(forge(world.links, user_id, requested.token_id))
    assert len(await world.events(user_id)) == 2


async def test_no_token_of_one_kind_serves_as_another(world: World) -> None:
    user_id = await world.register()
    (link,) = await world.links_mailed_to(user_id)
    await world.verify(link)
    pair = await world.log_in()
    attempts: list[tuple[type[Exception], Coroutine[Any, Any, object]]] = [
        (SessionInvalid, world.identity.refresh(pair.access_token)),
        (SessionInvalid, world.identity.refresh(link)),
        (InvalidInput, world.verify(pair.access_token)),
        (InvalidInput, world.verify(pair.refresh_token)),
    ]
    for refused, attempt in attempts:
        with pytest.raises(refused):
            await attempt
    for token in (link, pair.refresh_token):
        with pytest.raises(TokenInvalid):
            world.access.read(token)
    for token in (pair.access_token, pair.refresh_token):
        with pytest.raises(LinkInvalid):
            world.links.read("verify-email", token)
    await world.identity.refresh(pair.refresh_token)


async def test_no_token_and_no_password_is_stored_and_no_hash_is_in_an_event(world: World) -> None:
    password = "canary plain words"
    user_id = await world.register(password="canary first words")
    await world.member(password=password)
    await world.register(password="canary third words")
    pair = await world.log_in(password=password)
    refreshed = await world.identity.refresh(pair.refresh_token)
    hashed = await PostgresAccounts(world.pool).password_hash(user_id)
    assert hashed is not None
    async with world.pool.connection() as connection:
        events = str(await (await connection.execute("select event::text from event")).fetchall())
        others = str(
            await (
                await connection.execute(
                    "select session::text from session union all select credential::text from credential"
                    " union all select reservation::text from reservation"
                )
            ).fetchall()
        )
    assert ADDRESS in events, "the search finds what is there"
    assert hashed in others
    secret = [pair.access_token, pair.refresh_token, refreshed.access_token, refreshed.refresh_token, "canary"]
    secret += await world.links_mailed_to(user_id)
    for value in secret:
        assert value not in events
        assert value not in others
    assert "$argon2" not in events
    assert hashed.rpartition("$")[2] not in events


def catch(folder: Path, *, to: str) -> None:
    MailFolder(folder).add(sender="vigil@example.com", to=(to,), content=b"Subject: Hello\n\nHi\n", received_at=AT)


async def test_an_erasure_whose_mails_could_not_be_removed_can_be_asked_for_again(world: World, tmp_path: Path) -> None:
    failures = [OSError("the folder does not answer")]

    def forget(address: str) -> None:
        if failures:
            raise failures.pop()
        forget_mail_to(address, tmp_path)

    user_id = await world.member()
    for to in (ADDRESS, "ben@example.com"):
        catch(tmp_path, to=to)
    context = Metadata(correlation_id=uuid7(), actor="operator:root")
    world.identity = dataclasses.replace(world.identity, forget_mail=forget)
    with pytest.raises(OSError, match="does not answer"):
        await world.identity.erase(user_id, context=context)
    assert await world.identity.erase(user_id, context=context)
    assert [mail.to for mail in MailFolder(tmp_path).newest_first()] == [("ben@example.com",)]


async def test_a_mail_that_came_while_its_person_was_erased_is_removed_too(world: World, tmp_path: Path) -> None:
    class SlowStore(PostgresEventStore):
        async def append(self, *given: Any, **named: Any) -> None:  # noqa: ANN401  as the store
            catch(tmp_path, to=ADDRESS)
            await super().append(*given, **named)

    user_id = await world.member()
    world.identity = dataclasses.replace(
        world.identity,
        shell=Shell(SlowStore(world.pool, new_id=uuid7), now=lambda: AT, new_id=uuid7),
        forget_mail=lambda address: forget_mail_to(address, tmp_path),
    )
    assert await world.identity.erase(user_id, context=Metadata(correlation_id=uuid7(), actor="operator:root"))
    assert MailFolder(tmp_path).newest_first() == []


async def test_a_closed_door_lets_nobody_register_and_those_inside_log_in(world: World) -> None:
    await world.member()
    world.open = False
    for email in (ADDRESS, "new@example.com", "no address"):
        with pytest.raises(RegistrationClosed):
            await world.register(email)
    await world.log_in()


@pytest.mark.parametrize(
    ("wrong", "field_name"),
    [
        ({"email": "no address"}, "email"),
        ({"email": "ada@example.com\nBcc: eve@example.com"}, "email"),
        ({"email": "a" * 400 + "@example.com"}, "email"),
        ({"password": "7 chars"}, "password"),
        ({"password": "x" * 257}, "password"),
        ({"password": "aaaaaaaaaaaa"}, "password"),
        ({"password": "Ada@Example.com"}, "password"),
        ({"password": "VigilVigil"}, "password"),
        ({"name": "  "}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": "Ada\nBcc: eve@example.com"}, "name"),
        ({"timezone": "Middle/Earth"}, "timezone"),
        ({"timezone": "../../etc/passwd"}, "timezone"),
        ({"timezone": "localtime"}, "timezone"),
    ],
    ids=str,
)
async def test_what_cannot_be_registered_is_refused_by_field_and_costs_no_hash(
    world: World, wrong: dict[str, str], field_name: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        await world.register(**wrong)
    assert refused.value.field == field_name
    assert world.passwords.computed == 0


async def test_passwords_from_8_to_256_characters_of_any_kind_work_uncut(world: World) -> None:
    for number, password in enumerate(
        ("8 chars.", "x" * 255 + "y", "\u00fc" * 100 + "\U0001f600" * 3, "  spaces around  ")
    ):
        address = f"person{number}@example.com"
        await world.member(address, password)
        await world.log_in(address, password)
        for other in (password[:-1], password.upper(), password.strip(), password + " "):
            if other != password:
                with pytest.raises(InvalidCredentials):
                    await world.log_in(address, other)


async def test_an_address_is_one_account_however_it_is_written(world: World) -> None:
    user_id = await world.member("j\u00fcrgen@b\u00fccher.example")
    for same in ("J\u00dcRGEN@B\u00dcCHER.example", "ju\u0308rgen@xn--bcher-kva.example"):
        assert await world.register(same) == user_id
        await world.log_in(same)


@given(
    st.from_regex(re.compile(r"[^\x00-\x20@.\"\\]{1,12}@([a-z0-9]{1,8}|b\u00fccher)\.[A-Za-z]{2,5}"), fullmatch=True)
)
def test_a_normalised_address_stays_as_it_is(email: str) -> None:
    try:
        once = normalise_email(email)
    except InvalidInput:
        reject()
    assert normalise_email(once) == once


def test_letters_that_have_one_character_only_in_lower_case_are_the_same_address() -> None:
    assert normalise_email("J\u030can@example.com") == normalise_email("\u01f0an@example.com")


def test_a_password_of_the_length_asvs_asks_to_allow_is_allowed() -> None:
    for length in (8, 15, 64, 256):
        check_password("ab" * (length // 2) + "c" * (length % 2), email=ADDRESS)
