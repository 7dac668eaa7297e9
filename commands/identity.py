"""Commands on identity: register, verify an address, log in, refresh, log out."""

import asyncio
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec
from email_validator import EmailNotValidError, validate_email

from commands.caller import Caller
from commands.event_store import (
    AlreadyReserved,
    Companion,
    ConcurrentAppend,
    ErasePerson,
    KeepCredential,
    PersonErased,
    Reserve,
)
from commands.identity_ports import AccessTokens, Accounts, LinkInvalid, LinkTokens, Passwords, Sessions
from commands.shell import ATTEMPTS_MAX, Shell
from commands.streams import Aggregate, Loaded, load
from domain import user
from domain.errors import InvalidInput, NotFound, RuleViolation
from domain.event import Event, Metadata, NewEvents
from domain.name import check_name
from domain.schedule import timezones
from domain.user import User

USER = Aggregate(initial=User(), evolve=user.evolve)

EMAIL_SCOPE = "user-email"
TOKEN_TYPE = "Bearer"  # noqa: S105  a scheme, no secret
PASSWORD_CHARS_MIN, PASSWORD_CHARS_MAX = 8, 256
"""ASVS 6.2.1 asks for at least 8 and advises 15; 6.2.9 for at least 64 allowed. The upper bound limits hashing work."""
PERSON_NAME_CHARS_MAX = 200
NOBODY = UUID(int=0)
"""Stands in for the person behind an unknown address, so that the same is looked up for it. No id of ours is nil."""


class InvalidCredentials(RuleViolation):
    """The address or the password is wrong, or the address is not verified yet."""

    code = "INVALID_CREDENTIALS"


class SessionInvalid(RuleViolation):
    """The refresh token is not valid: it was used before, has ended or expired. Log in again."""

    code = "SESSION_INVALID"


class RegistrationClosed(RuleViolation):
    """New accounts are not open here. Ask the operator for one."""

    code = "REGISTRATION_CLOSED"


class TokenPair(msgspec.Struct, frozen=True, kw_only=True):
    """What logging in gives (RFC 6749, 5.1)."""

    access_token: str
    token_type: str
    expires_in: int
    refresh_token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a person says of themselves when they register; `email` is normalised."""

    email: str
    name: str
    timezone: str


@dataclass(frozen=True, slots=True)
class IdentityCommands:
    """The write side of identity. Answers never tell whether an address has an account (ASVS 6.3.8)."""

    shell: Shell
    passwords: Passwords
    links: LinkTokens
    accounts: Accounts
    sessions: Sessions
    access: AccessTokens
    registration_open: Callable[[], bool]
    forget_mail: Callable[[str], None] = lambda _address: None

    async def register(
        self, *, email: str, password: str, name: str, timezone: str, correlation_id: UUID, actor: str = "anonymous"
    ) -> UUID:
        """Register an address; its owner gets a mail with a link. The id of the user who holds it, which anonymous
        callers never see.

        An address that is taken gets a mail too, and nothing here tells the difference.
        """
        if not self.registration_open():
            raise RegistrationClosed
        address = normalise_email(email)
        check_password(password, email=address)
        _check_profile(name, timezone)
        profile = Profile(email=address, name=name.strip(), timezone=timezone)
        password_hash = await self.passwords.hash(password)
        context = Metadata(correlation_id=correlation_id, actor=actor)
        user_id = NOBODY
        for _ in range(ATTEMPTS_MAX):
            # A new address and a taken one cost the same reads and one append, so that time does not tell them apart.
            user_id = await self.accounts.user_with(address) or self.shell.new_id()
            known = await load(self.shell.store, USER, user_id)
            if known.state.erased:  # a moment ago; the address is free again
                continue
            new, companions = self._registration(profile, password_hash, user_id, known)
            try:
                await self.shell.store.append([new], metadata=context, companions=companions)
            except (AlreadyReserved, ConcurrentAppend, PersonErased):
                continue
            break
        # Who lost every race was overtaken by others registering the same address: as if this one had come first. They
        # caused the mail that the answer promises, and a conflict would tell that there is an account.
        return user_id

    def _registration(
        self, profile: Profile, password_hash: str, user_id: UUID, known: Loaded[User]
    ) -> tuple[NewEvents, list[Companion]]:
        """A verified account's owner is told; an unverified one gets a new link and the new password, because whoever
        registered first has not shown that the address is theirs (pre-hijacking)."""
        now, token_id = self.shell.now(), self.shell.new_id()
        keep = KeepCredential(user_id, password_hash, now)
        if known.version == 0:
            events = user.register(
                email=profile.email, name=profile.name, timezone=profile.timezone, token_id=token_id, now=now
            )
            return _appended(user_id, 0, events), [Reserve(EMAIL_SCOPE, profile.email, user_id), keep]
        events = user.repeat_registration(known.state, token_id=token_id, now=now)
        return _appended(user_id, known.version, events), [] if known.state.verified else [keep]

    async def verify_email(self, token: str, *, correlation_id: UUID) -> UUID:
        """Prove an address with the token of a mailed link, once."""
        try:
            user_id, token_id = self.links.read("verify-email", token)
        except LinkInvalid:
            raise InvalidInput("this is not a link of ours; copy it whole from the mail", field="token") from None
        context = Metadata(correlation_id=correlation_id, actor=str(user_id))
        for _ in range(ATTEMPTS_MAX):
            loaded = await load(self.shell.store, USER, user_id)
            events = user.verify_email(loaded.state, token_id=token_id, now=self.shell.now())
            try:
                await self.shell.store.append([_appended(user_id, loaded.version, events)], metadata=context)
            except ConcurrentAppend:
                continue
            return user_id
        raise ConcurrentAppend

    async def log_in(self, *, email: str, password: str) -> TokenPair:
        """Tokens for a verified person. Unknown, unverified and wrong fail alike, after the same work."""
        try:
            address = normalise_email(email)
        except InvalidInput:
            address = ""
        user_id = await self.accounts.user_with(address) or NOBODY
        # Verified first, then the password: the other way round, one that was read before a new registration replaced
        # it would still open the account when its owner verifies during the slow hash.
        person = (await load(self.shell.store, USER, user_id)).state
        stored = await self.accounts.password_hash(user_id)
        fits = await self.passwords.verify(stored, password[: PASSWORD_CHARS_MAX + 1])
        if stored is None or not fits or not person.verified:
            raise InvalidCredentials
        now = self.shell.now()
        if self.passwords.is_outdated(stored):
            await self.accounts.keep_password_hash(user_id, await self.passwords.hash(password), now=now)
        return self._tokens(user_id, person, await self.sessions.open(user_id, now=now), now)

    async def refresh(self, refresh_token: str) -> TokenPair:
        """The next pair of tokens; the old refresh token is spent. A spent one that comes back ends the session."""
        now = self.shell.now()
        found = await self.sessions.refresh(refresh_token, now=now)
        if found is None:
            raise SessionInvalid
        user_id, next_token = found
        person = (await load(self.shell.store, USER, user_id)).state
        if person.erased:
            raise SessionInvalid
        return self._tokens(user_id, person, next_token, now)

    async def log_out(self, refresh_token: str) -> None:
        """End the session; its access token lives on for at most its few minutes."""
        await self.sessions.end(refresh_token, now=self.shell.now())

    async def erase_own(self, caller: Caller, *, password: str) -> None:
        """Erase the caller, who proves with the password that it is they (ASVS 7.5.1). Raises `InvalidCredentials`."""
        stored = await self.accounts.password_hash(caller.user_id)
        if not await self.passwords.verify(stored, password[: PASSWORD_CHARS_MAX + 1]) or stored is None:
            raise InvalidCredentials
        await self.erase(caller.user_id, context=caller.metadata())

    async def erase(self, user_id: UUID, *, context: Metadata) -> bool:
        """Destroy a person's key and whatever is kept of them beside their events; `context` says who asked for it. False
        when they were erased before. Raises `NotFound`."""
        for _ in range(ATTEMPTS_MAX):
            loaded = await load(self.shell.store, USER, user_id)
            if loaded.owner_id != user_id:  # no stream, or not that of a person
                raise NotFound
            events = user.erase(loaded.state, now=self.shell.now())
            if not events:
                return False
            new = _appended(user_id, loaded.version, events)
            # First, because nobody can say the address any more once the person is erased: a failure leaves all to be
            # repeated. And again for the mail that was on its way meanwhile.
            await asyncio.to_thread(self.forget_mail, loaded.state.email)
            try:
                await self.shell.store.append([new], metadata=context, companions=[ErasePerson(user_id)])
            except ConcurrentAppend:
                continue
            await asyncio.to_thread(self.forget_mail, loaded.state.email)
            return True
        raise ConcurrentAppend

    async def address_of(self, user_id: UUID) -> str:
        """The person's verified address."""
        loaded = await load(self.shell.store, USER, user_id)
        if not loaded.state.verified:
            raise NotFound
        return loaded.state.email

    def _tokens(self, user_id: UUID, person: User, refresh_token: str, now: datetime) -> TokenPair:
        access_token, expires_in = self.access.issue(user_id, person.roles, now=now)
        return TokenPair(
            access_token=access_token, token_type=TOKEN_TYPE, expires_in=expires_in, refresh_token=refresh_token
        )


def normalise_email(email: str) -> str:
    """The address in the one form it is stored and compared in: NFC, lower case, domain in Unicode and not in Punycode;
    `InvalidInput` if it is none. Internal domains are allowed, because Vigil also runs inside of firms."""
    try:
        checked = validate_email(email, check_deliverability=False, globally_deliverable=False)
    except EmailNotValidError as error:
        raise InvalidInput(f"this is not an e-mail address: {error}", field="email") from None
    # Lower case can take a text out of NFC; without this, a normalised address would normalise to another.
    return unicodedata.normalize("NFC", checked.normalized.lower())


def check_password(password: str, *, email: str) -> None:
    """Length and context words only, as NIST SP 800-63B and ASVS 6.2 advise; no rules on kinds of characters."""
    if not PASSWORD_CHARS_MIN <= len(password) <= PASSWORD_CHARS_MAX:
        raise InvalidInput(
            f"a password has {PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX} characters; a few words are best",
            field="password",
        )
    if password.casefold() in {email, email.partition("@")[0], "vigil", "vigilvigil"} or len(set(password)) == 1:
        raise InvalidInput("this password is too easy to guess", field="password")


def _check_profile(name: str, timezone: str) -> None:
    check_name(name, chars_max=PERSON_NAME_CHARS_MAX)
    if timezone not in timezones():
        raise InvalidInput(f"{timezone!r} is not an IANA time zone; write for example Europe/Berlin", field="timezone")


def _appended(user_id: UUID, version: int, events: Sequence[Event]) -> NewEvents:
    return NewEvents(stream_id=user_id, owner_id=user_id, expected_version=version, events=tuple(events))
