"""What people said, for readers through the `eventsourcing` library: opened with the installation's wrapping keys, else
hidden."""

from collections.abc import Sequence
from uuid import UUID

from adapters.eventsourcing_connection import StoreConnections
from adapters.personal_data import DestroyedKey, HiddenKey, Key, MissingKey, PersonKey
from adapters.wrapping_keys import WrappingKeys

_FIND = "select wrapped, wrapping_key_id from person_key where owner_id = %s"


class People:
    """The keys of people, each read anew: who was erased a moment ago is not read again."""

    def __init__(self, connections: StoreConnections, wrapping_keys: Sequence[bytes]) -> None:
        """Without wrapping keys everything is hidden."""
        self._connections = connections
        self._wrapping = WrappingKeys(wrapping_keys) if wrapping_keys else None

    def key_of(self, owner_id: UUID) -> Key:
        """A person's key. Raises `WrappingKeyMissing`."""
        if self._wrapping is None:
            return HiddenKey()
        with self._connections.reading() as connection:
            row = connection.execute(_FIND, (owner_id,)).fetchone()
        if row is None:
            return MissingKey(owner_id)
        wrapped, wrapping_key_id = row
        if wrapped is None:
            return DestroyedKey(owner_id)
        return PersonKey(self._wrapping.unwrap(owner_id, bytes(wrapped), wrapping_key_id))
