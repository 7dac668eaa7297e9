"""What `vigil users` does: accounts and roles, given by whoever operates the installation."""

import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from uuid import UUID

import msgspec
import typer

from adapters.argon2_passwords import Argon2Passwords
from adapters.hmac_link_tokens import HmacLinkTokens
from adapters.jwt_tokens import JwtAccessTokens
from adapters.mail_folder import forget_mail_to
from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_identity import PostgresAccounts, PostgresSessions
from adapters.postgres_pool import Pool
from bootstrap.now_and_new import new_id, utc_now
from bootstrap.settings import Settings
from cli.acts import operator
from cli.arguments import confirmed
from cli.connection import configured, keys_of_people, open_database, run
from cli.output import print_json
from commands.event_store import ConcurrentAppend
from commands.identity import USER, IdentityCommands, normalise_email
from commands.shell import ATTEMPTS_MAX, Shell
from commands.streams import load
from domain.errors import Conflict, NotFound
from domain.event import Metadata, NewEvents
from domain.user import grant_role

ACTOR = "cli"
SECRET_BYTES = 32


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """An account as these commands show it."""

    id: UUID
    email: str
    roles: list[str]


class Erased(msgspec.Struct, frozen=True, kw_only=True):
    """Who is erased, and whether it happened just now."""

    id: UUID
    erased_now: bool


def run_create(*, email: str, name: str, password: str | None, timezone: str, as_json: bool) -> None:
    """Create an account and tell its id. Raises `InvalidInput`, `Conflict` when the address has a verified account."""
    address, settings = normalise_email(email), configured()
    if password is None:
        password = _asked_password()
    account = run(_create(settings, address, name=name, password=password, timezone=timezone))
    print_json(account) if as_json else typer.echo(f"created {account.email} with the id {account.id}")


def run_grant(*, email: str, role: str, as_json: bool) -> None:
    """Give a role. Raises `InvalidInput`, `NotFound`."""
    address, settings = normalise_email(email), configured()
    account = run(_grant(settings, address, role))
    print_json(account) if as_json else typer.echo(f"{account.email} has the roles {', '.join(account.roles)}")


def _asked_password() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    return sys.stdin.readline().rstrip("\r\n")


def run_erase(*, person: str, yes: bool, as_json: bool) -> None:
    """Erase a person, by address or id. Raises `InvalidInput`, `NotFound`."""
    settings = configured()
    user_id = run(_find(settings, person))
    confirmed(f"Erase {person}, with everything they said, for ever?", yes=yes)
    erased = run(_erase(settings, user_id))
    if as_json:
        print_json(erased)
    else:
        typer.echo(f"erased {erased.id}" if erased.erased_now else f"{erased.id} was erased before")


async def _find(settings: Settings, person: str) -> UUID:
    """Who that is. The id may be all that is known: the address of somebody who was erased leads to nobody."""
    try:
        return UUID(person)
    except ValueError:
        address = normalise_email(person)
    async with open_database(settings) as pool, _identity(settings, pool) as identity:
        user_id = await identity.accounts.user_with(address)
    if user_id is None:
        raise NotFound(f"{person} has no account, or was erased before")
    return user_id


async def _erase(settings: Settings, user_id: UUID) -> Erased:
    async with open_database(settings) as pool, _identity(settings, pool) as identity:
        context = Metadata(correlation_id=new_id(), actor=operator())
        try:
            return Erased(id=user_id, erased_now=await identity.erase(user_id, context=context))
        except NotFound:
            raise NotFound(f"there is no person with the id {user_id}") from None


async def _create(settings: Settings, address: str, *, name: str, password: str, timezone: str) -> Account:
    async with open_database(settings) as pool, _identity(settings, pool) as identity:
        holder = await identity.accounts.user_with(address)
        if holder is not None and (await load(identity.shell.store, USER, holder)).state.verified:
            raise Conflict(f"{address} has an account already; `vigil users grant` gives it a role")
        correlation_id = new_id()
        user_id = await identity.register(
            email=address, password=password, name=name, timezone=timezone, correlation_id=correlation_id, actor=ACTOR
        )
        token_id = (await load(identity.shell.store, USER, user_id)).state.pending_token_id
        if token_id is None:
            raise Conflict(f"{address} was verified by somebody else at the same moment")
        token = identity.links.make("verify-email", user_id, token_id)
        await identity.verify_email(token, correlation_id=correlation_id)
        return await _account(identity, user_id)


async def _grant(settings: Settings, address: str, role: str) -> Account:
    async with open_database(settings) as pool, _identity(settings, pool) as identity:
        user_id = await identity.accounts.user_with(address)
        if user_id is None:
            raise NotFound(f"{address} has no account; `vigil users create` makes one")
        context = Metadata(correlation_id=new_id(), actor=ACTOR)
        for _ in range(ATTEMPTS_MAX):
            person = await load(identity.shell.store, USER, user_id)
            granted = tuple(grant_role(person.state, role=role, now=utc_now()))
            new = NewEvents(stream_id=user_id, owner_id=user_id, expected_version=person.version, events=granted)
            try:
                if granted:
                    await identity.shell.store.append([new], metadata=context)
            except ConcurrentAppend:
                continue
            return await _account(identity, user_id)
        raise Conflict(f"{address} is being changed by others; try again")


async def _account(identity: IdentityCommands, user_id: UUID) -> Account:
    person = (await load(identity.shell.store, USER, user_id)).state
    return Account(id=user_id, email=person.email, roles=sorted(person.roles))


@asynccontextmanager
async def _identity(settings: Settings, pool: Pool) -> AsyncIterator[IdentityCommands]:
    """The write side of identity over a database alone. Its secret need not be the installation's: the only token made
    with it is used at once, by the same process. The keys of people are the installation's."""
    secret, people = secrets.token_bytes(SECRET_BYTES), await keys_of_people(settings, pool)
    with closing(Argon2Passwords()) as passwords:
        yield IdentityCommands(
            shell=Shell(store=PostgresEventStore(pool, new_id=new_id, people=people), now=utc_now, new_id=new_id),
            passwords=passwords,
            links=HmacLinkTokens([secret]),
            accounts=PostgresAccounts(pool, blind=people.blind),
            sessions=PostgresSessions(pool, new_id=new_id),
            access=JwtAccessTokens([secret], issuer=ACTOR, new_id=new_id, now=utc_now),
            registration_open=lambda: True,
            forget_mail=lambda address: forget_mail_to(address, settings.mail_folder),
        )
