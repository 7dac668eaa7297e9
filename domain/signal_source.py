"""The signal source aggregate: a place where others may send signals to."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from domain.errors import InvalidInput, NotFound, RuleViolation
from domain.event import Event, stored_as
from domain.name import check_name
from domain.personal_data import Personal

SCHEMA_BYTES_MAX = 16 * 1024
SILENT_AFTER_MIN, SILENT_AFTER_MAX = timedelta(minutes=1), timedelta(days=366)
OVERLAP_MAX = timedelta(days=7)

_PERSONAL = {"name": Personal.TEXT, "schema": Personal.TEXT}


class SignalSourceLimitExceeded(RuleViolation):
    """You have as many signal sources as your account allows. Delete one first."""

    code = "SIGNAL_SOURCE_LIMIT_EXCEEDED"


@stored_as("signal_source.created", personal=_PERSONAL)
class SignalSourceCreated(Event, frozen=True, kw_only=True):
    """A person wants to be sent signals. `schema` is the JSON Schema they must follow, as JSON text; `secret_id` names the
    secret they are signed with, which is kept elsewhere."""

    name: str
    schema: str | None = None
    silent_after_seconds: int | None = None
    secret_id: UUID
    created_at: datetime


@stored_as("signal_source.revised", personal=_PERSONAL)
class SignalSourceRevised(Event, frozen=True, kw_only=True):
    """Its name, what signals must look like, or when it counts as silent, is different from now on."""

    name: str
    schema: str | None = None
    silent_after_seconds: int | None = None
    revised_at: datetime


@stored_as("signal_source.secret_rotated")
class SignalSecretRotated(Event, frozen=True, kw_only=True):
    """There is a new secret; the one before is good until `overlap_ends_at`."""

    secret_id: UUID
    overlap_ends_at: datetime
    rotated_at: datetime


@stored_as("signal_source.deleted")
class SignalSourceDeleted(Event, frozen=True, kw_only=True):
    """Nobody may send signals there any more."""

    deleted_at: datetime


SignalSourceEvent = SignalSourceCreated | SignalSourceRevised | SignalSecretRotated | SignalSourceDeleted


@dataclass(frozen=True, slots=True)
class Terms:
    """What a person says about a signal source: its name, the JSON Schema of its signals as text, and after how long
    without one it counts as silent."""

    name: str
    schema: str | None = None
    silent_after: timedelta | None = None

    @property
    def silent_after_seconds(self) -> int | None:
        """As it is stored."""
        return None if self.silent_after is None else self.silent_after // timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class RegisteredSource:
    """A signal source as the events so far tell it; `terms` are None before it exists and after it was deleted."""

    terms: Terms | None = None
    secret_id: UUID | None = None

    @property
    def current(self) -> Terms:
        """Its terms; raises `NotFound`."""
        if self.terms is None:
            raise NotFound
        return self.terms


def evolve(source: RegisteredSource, event: SignalSourceEvent) -> RegisteredSource:
    """The signal source after `event`."""
    match event:
        case SignalSourceCreated(secret_id=secret_id):
            return RegisteredSource(terms=_terms(event), secret_id=secret_id)
        case SignalSourceRevised():
            return replace(source, terms=_terms(event))
        case SignalSecretRotated(secret_id=secret_id):
            return replace(source, secret_id=secret_id)
        case SignalSourceDeleted():
            return RegisteredSource()


def create(terms: Terms, *, secret_id: UUID, now: datetime) -> list[SignalSourceEvent]:
    """A new signal source."""
    _check(terms)
    return [
        SignalSourceCreated(
            name=terms.name,
            schema=terms.schema,
            silent_after_seconds=terms.silent_after_seconds,
            secret_id=secret_id,
            created_at=now,
        )
    ]


def revise(source: RegisteredSource, terms: Terms, *, now: datetime) -> list[SignalSourceEvent]:
    """Change what is said about it; the same again changes nothing. Raises `NotFound`."""
    present = source.current
    _check(terms)
    if terms == present:
        return []
    return [
        SignalSourceRevised(
            name=terms.name, schema=terms.schema, silent_after_seconds=terms.silent_after_seconds, revised_at=now
        )
    ]


def rotate(source: RegisteredSource, *, secret_id: UUID, overlap: timedelta, now: datetime) -> list[SignalSourceEvent]:
    """Another secret; the present one stays good for `overlap`. Raises `NotFound`."""
    _ = source.current
    if not timedelta() <= overlap <= OVERLAP_MAX:
        raise InvalidInput(f"the older secret stays good for PT0S to P{OVERLAP_MAX.days}D", field="overlap")
    return [SignalSecretRotated(secret_id=secret_id, overlap_ends_at=now + overlap, rotated_at=now)]


def delete(source: RegisteredSource, *, now: datetime) -> list[SignalSourceEvent]:
    """Take no more signals; doing it twice changes nothing."""
    return [] if source.terms is None else [SignalSourceDeleted(deleted_at=now)]


def _terms(event: SignalSourceCreated | SignalSourceRevised) -> Terms:
    seconds = event.silent_after_seconds
    return Terms(event.name, event.schema, None if seconds is None else timedelta(seconds=seconds))


def _check(terms: Terms) -> None:
    check_name(terms.name)
    if terms.schema is not None and len(terms.schema.encode()) > SCHEMA_BYTES_MAX:
        raise InvalidInput(f"a schema is at most {SCHEMA_BYTES_MAX} bytes of JSON", field="schema")
    after = terms.silent_after
    if after is not None and (after.microseconds or not SILENT_AFTER_MIN <= after <= SILENT_AFTER_MAX):
        raise InvalidInput(
            f"silent_after is whole seconds, PT1M to P{SILENT_AFTER_MAX.days}D; for example P3D", field="silent_after"
        )
