"""A Vigil store for the `eventsourcing` library: `PERSISTENCE_MODULE=adapters.eventsourcing_store`.

Read from the environment the library hands over (its own, an application's, or what stands before an application's name):

- `VIGIL_DATABASE_URL`: where the store is.
- `VIGIL_WRAPPING_KEYS`: what opens personal data, as for Vigil itself; without it "(sealed)" is read in its place.
- `STORE_ACCESS`: `read`, which is what an auditor needs and what holds when nothing is said, or `write`.

The tables come with Vigil's migrations, so `CREATE_TABLE` has no meaning here, nor have the names of tables. There is no
mode of functions in the database that takes no lock and drops tracking, and no insert is ever tried twice.
"""

from typing import TypeVar

from eventsourcing.domain import TAggregateID
from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    InfrastructureFactory,
    Mapper,
    ProcessRecorder,
    ProgrammingError,
    Transcoder,
)
from eventsourcing.utils import Environment, EnvType, resolve_topic

from adapters.eventsourcing_connection import Access, StoreConnections
from adapters.eventsourcing_mapper import VigilMapper
from adapters.eventsourcing_people import People
from adapters.eventsourcing_recorders import VigilAggregateRecorder, VigilApplicationRecorder, VigilSnapshotRecorder
from adapters.eventsourcing_tracking import VigilProcessRecorder, VigilTrackingRecorder
from adapters.wrapping_keys import read_key

T = TypeVar("T")


class VigilFactory(InfrastructureFactory[VigilTrackingRecorder]):
    """Makes the library's recorders and mapper for one store, which share a pool of connections."""

    DATABASE_URL = "VIGIL_DATABASE_URL"
    WRAPPING_KEYS = "VIGIL_WRAPPING_KEYS"
    STORE_ACCESS = "STORE_ACCESS"

    def __init__(self, env: Environment | EnvType | None) -> None:
        """Raises `OSError`, as the library's factories do, when the environment lacks what is needed."""
        super().__init__(env)
        database_url = self.env.get(self.DATABASE_URL)
        if not database_url:
            raise OSError(f"{self.DATABASE_URL} says where the store is, and is not set")
        access = self.env.get(self.STORE_ACCESS, Access.READ.value)
        if access not in set(Access):
            raise OSError(f"{self.STORE_ACCESS} is {access!r}, and may be {' or '.join(Access)}")
        self._connections = StoreConnections(database_url, Access(access))
        given = (self.env.get(self.WRAPPING_KEYS) or "").split(",")
        try:
            self._people = People(self._connections, [read_key(key) for key in given if key.strip()])
        except ValueError as error:
            raise OSError(f"{self.WRAPPING_KEYS}: {error}") from None

    def mapper(
        self, transcoder: Transcoder | None = None, mapper_class: type[Mapper[TAggregateID]] | None = None
    ) -> Mapper[TAggregateID]:
        """The mapper that knows Vigil's events, unless another class or `MAPPER_TOPIC` is given."""
        if mapper_class is None and not self.env.get(self.MAPPER_TOPIC):
            mapper_class = VigilMapper[TAggregateID]
        mapper = super().mapper(transcoder, mapper_class)
        if isinstance(mapper, VigilMapper):
            mapper.key_of = self._people.key_of
        return mapper

    def aggregate_recorder(self, purpose: str = "events") -> AggregateRecorder:
        """A recorder of `events` or of `snapshots`; there are no others."""
        match purpose:
            case "events":
                return VigilAggregateRecorder(self._connections)
            case "snapshots":
                return VigilSnapshotRecorder(self._connections)
            case _:
                raise ProgrammingError(f"a Vigil store keeps events and snapshots, no {purpose!r}")

    def application_recorder(self) -> ApplicationRecorder:
        """A recorder of streams and the log; `APPLICATION_RECORDER_TOPIC` may name a subclass."""
        recorder_class = self._named(self.APPLICATION_RECORDER_TOPIC, VigilApplicationRecorder)
        return recorder_class(self._connections)

    def tracking_recorder(
        self, tracking_recorder_class: type[VigilTrackingRecorder] | None = None
    ) -> VigilTrackingRecorder:
        """A recorder of tracking for the projection of the environment's name; a subclass may be given, or named by
        `TRACKING_RECORDER_TOPIC`."""
        recorder_class = tracking_recorder_class or self._named(self.TRACKING_RECORDER_TOPIC, VigilTrackingRecorder)
        return recorder_class(self._connections, consumer=self.env.name)

    def process_recorder(self) -> ProcessRecorder:
        """A recorder of events with their tracking; `PROCESS_RECORDER_TOPIC` may name a subclass."""
        recorder_class = self._named(self.PROCESS_RECORDER_TOPIC, VigilProcessRecorder)
        return recorder_class(self._connections, consumer=self.env.name)

    def close(self) -> None:
        """Close the connections."""
        self._connections.close()

    def _named(self, key: str, otherwise: type[T]) -> type[T]:
        topic = self.env.get(key)
        named = resolve_topic(topic) if topic else otherwise
        if not issubclass(named, otherwise):
            raise ProgrammingError(f"{key} is {topic!r}, which is no {otherwise.__name__}")
        return named
