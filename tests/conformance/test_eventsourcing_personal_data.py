"""What people said, read through the library: hidden without the wrapping keys, opened with them, gone after erasure."""

import base64
from uuid import UUID

import msgspec
import pytest
from eventsourcing.application import Application
from eventsourcing.persistence import MapperDeserialisationError, ProgrammingError
from uuid_utils.compat import uuid7

from adapters.aes_gcm import new_key
from adapters.eventsourcing_mapper import VigilEvent
from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_person_keys import PersonKeys
from adapters.postgres_pool import Pool
from adapters.wrapping_keys import WrappingKeys
from commands.event_store import ErasePerson
from domain.event import Event, Metadata, NewEvents
from domain.personal_data import HIDDEN
from domain.user import EmailVerified, UserErased, UserRegistered
from tests.conftest import AT

ADA = UserRegistered(email="ada@example.org", name="Ada", timezone="UTC", registered_at=AT)
VERIFIED = EmailVerified(email="ada@example.org", verified_at=AT)


def opened(database: str, *keys: bytes) -> Application[UUID]:
    env = {
        "PERSISTENCE_MODULE": "adapters.eventsourcing_store",
        "VIGIL_DATABASE_URL": database,
        "STORE_ACCESS": "write",
        "VIGIL_WRAPPING_KEYS": ",".join(base64.b64encode(key).decode() for key in keys),
    }
    return Application[UUID](env=env)


def verified(stream_id: UUID, version: int) -> VigilEvent:
    return VigilEvent(
        stream_id=stream_id,
        version=version,
        owner_id=stream_id,
        event=VERIFIED,
        metadata=Metadata(correlation_id=uuid7(), actor="test"),
        event_id=uuid7(),
        recorded_at=AT,
    )


def events(app: Application[UUID], stream_id: UUID) -> list[Event]:
    return [stored.event for stored in app.events.get(stream_id) if isinstance(stored, VigilEvent)]


async def test_the_library_reads_what_people_said_only_with_the_keys(pool: Pool, database: str) -> None:
    wrapping, person, context = new_key(), uuid7(), Metadata(correlation_id=uuid7(), actor="test")
    store = PostgresEventStore(pool, new_id=uuid7, people=PersonKeys(pool, WrappingKeys([wrapping])))
    new = NewEvents(stream_id=person, owner_id=person, expected_version=0, events=(ADA,))
    await store.append([new], metadata=context)

    with opened(database) as auditor:
        assert events(auditor, person) == [msgspec.structs.replace(ADA, email=HIDDEN, name=HIDDEN)]
        with pytest.raises(ProgrammingError, match="what a person said"):
            auditor.save(verified(person, 2))
    with opened(database, new_key()) as stranger, pytest.raises(MapperDeserialisationError, match="wrapped by"):
        events(stranger, person)
    with opened(database, wrapping) as keyholder:
        assert events(keyholder, person) == [ADA]
        keyholder.save(verified(person, 2))
        assert [stored.event for stored in await store.load(person)] == [ADA, VERIFIED]
        with pytest.raises(ProgrammingError, match="key of the person"):
            keyholder.save(verified(uuid7(), 1))
        erased = NewEvents(stream_id=person, owner_id=person, expected_version=2, events=(UserErased(erased_at=AT),))
        await store.append([erased], metadata=context, companions=[ErasePerson(person)])
        assert [stored.event for stored in await store.load(person)] == events(keyholder, person)
        assert "ada" not in repr(events(keyholder, person)).lower()


def test_a_wrapping_key_that_is_none_is_told(database: str) -> None:
    env = {"PERSISTENCE_MODULE": "adapters.eventsourcing_store", "VIGIL_DATABASE_URL": database}
    with pytest.raises(OSError, match="VIGIL_WRAPPING_KEYS"):
        Application[UUID](env={**env, "VIGIL_WRAPPING_KEYS": "abc"})
