"""The user aggregate: a person, their address and its verification."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from domain.errors import InvalidInput
from domain.event import Event, stored_as
from domain.personal_data import Personal

VERIFICATION_LIFETIME = timedelta(hours=24)


@stored_as("user.registered", personal={"email": Personal.ADDRESS, "name": Personal.TEXT})
class UserRegistered(Event, frozen=True, kw_only=True):
    """A person gave an address and a password (which is never in an event)."""

    email: str
    name: str
    timezone: str
    registered_at: datetime


@stored_as("user.email_verification_requested", personal={"email": Personal.ADDRESS})
class EmailVerificationRequested(Event, frozen=True, kw_only=True):
    """A link was promised that proves the address. The secret token is derived from `token_id`, never stored."""

    token_id: UUID
    email: str
    expires_at: datetime


@stored_as("user.email_verified", personal={"email": Personal.ADDRESS})
class EmailVerified(Event, frozen=True, kw_only=True):
    """The person followed the link."""

    email: str
    verified_at: datetime


@stored_as("user.registration_repeated", personal={"email": Personal.ADDRESS})
class RegistrationRepeated(Event, frozen=True, kw_only=True):
    """Somebody tried to register an address that already has an account; its owner is told by mail."""

    email: str
    repeated_at: datetime


@stored_as("user.role_granted")
class RoleGranted(Event, frozen=True, kw_only=True):
    """An operator gave this person a role: member, operator, auditor or admin."""

    role: str
    granted_at: datetime


@stored_as("user.erased")
class UserErased(Event, frozen=True, kw_only=True):
    """The person's key was destroyed: what they said can be read by nobody any more, and nothing is done for them."""

    erased_at: datetime


UserEvent = (
    UserRegistered | EmailVerificationRequested | EmailVerified | RegistrationRepeated | RoleGranted | UserErased
)


@dataclass(frozen=True, slots=True)
class User:
    """A user as the events so far tell it."""

    email: str = ""
    name: str = ""
    timezone: str = "UTC"
    verified: bool = False
    pending_token_id: UUID | None = None
    pending_until: datetime | None = None
    roles: frozenset[str] = frozenset()
    erased: bool = False


def evolve(user: User, event: UserEvent) -> User:
    """The user after `event`."""
    match event:
        case UserRegistered(email=email, name=name, timezone=timezone):
            return User(email=email, name=name, timezone=timezone, roles=frozenset({"member"}))
        case EmailVerificationRequested(token_id=token_id, expires_at=until):
            return replace(user, pending_token_id=token_id, pending_until=until)
        case EmailVerified():
            return replace(user, verified=True, pending_token_id=None, pending_until=None)
        case RegistrationRepeated():
            return user
        case RoleGranted(role=role):
            return replace(user, roles=user.roles | {role})
        case UserErased():
            return User(email=user.email, name=user.name, erased=True)


def register(*, email: str, name: str, timezone: str, token_id: UUID, now: datetime) -> list[UserEvent]:
    """A new account, and the promise of a verification mail."""
    return [
        UserRegistered(email=email, name=name, timezone=timezone, registered_at=now),
        EmailVerificationRequested(token_id=token_id, email=email, expires_at=now + VERIFICATION_LIFETIME),
    ]


def repeat_registration(user: User, *, token_id: UUID, now: datetime) -> list[UserEvent]:
    """Registering again: an unverified address gets a new link (the older one dies), a verified one a notice."""
    if user.verified:
        return [RegistrationRepeated(email=user.email, repeated_at=now)]
    return [EmailVerificationRequested(token_id=token_id, email=user.email, expires_at=now + VERIFICATION_LIFETIME)]


def verify_email(user: User, *, token_id: UUID, now: datetime) -> list[UserEvent]:
    """Prove the address with the pending token; a used, replaced or expired one is refused (ASVS 6.5.1)."""
    if user.pending_token_id != token_id or user.pending_until is None or now > user.pending_until:
        raise InvalidInput(
            "This link no longer works. If you confirmed before, just log in; otherwise register again for a new one.",
            field="token",
        )
    return [EmailVerified(email=user.email, verified_at=now)]


def grant_role(user: User, *, role: str, now: datetime) -> list[UserEvent]:
    """Give a role; giving it twice changes nothing."""
    if role not in {"member", "operator", "auditor", "admin"}:
        raise InvalidInput("a role is member, operator, auditor or admin", field="role")
    return [] if role in user.roles else [RoleGranted(role=role, granted_at=now)]


def erase(user: User, *, now: datetime) -> list[UserEvent]:
    """Erase a person; erasing twice changes nothing."""
    return [] if user.erased else [UserErased(erased_at=now)]
