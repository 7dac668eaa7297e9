"""What operators did to the installation itself: acts that change no person's data but must be accounted for.

Each act is a stream of one event, owned by `INSTALLATION`; who did it stands in the event's metadata as the actor.
"""

from datetime import datetime
from uuid import UUID

from domain.event import Event, stored_as

INSTALLATION = UUID("00000000-0000-7000-8000-000000000000")
"""The owner of what belongs to no person."""


@stored_as("operation.parked_retried")
class ParkedRetried(Event, frozen=True, kw_only=True):
    """The parked events of a stream were projected after all, in their order; `events` is how many."""

    projection: str
    stream: UUID
    events: int
    retried_at: datetime


@stored_as("operation.parked_skipped")
class ParkedSkipped(Event, frozen=True, kw_only=True):
    """A parked event was given up for a projection; `reason` is the operator's."""

    projection: str
    stream: UUID
    version: int
    reason: str
    skipped_at: datetime


@stored_as("operation.projection_rebuilt")
class ProjectionRebuilt(Event, frozen=True, kw_only=True):
    """A projection was built again from the log and its new tables became the live ones."""

    projection: str
    projection_version: int
    events: int
    rebuilt_at: datetime


@stored_as("operation.projection_rolled_back")
class ProjectionRolledBack(Event, frozen=True, kw_only=True):
    """The tables from before the last rebuild became the live ones again."""

    projection: str
    rolled_back_at: datetime


@stored_as("operation.store_repaired")
class StoreRepaired(Event, frozen=True, kw_only=True):
    """A store restored into a younger cluster was made ready for it; `events` is how many had still to be sequenced."""

    events: int
    repaired_at: datetime


@stored_as("operation.keys_rotated")
class KeysRotated(Event, frozen=True, kw_only=True):
    """A batch of `keys` keys of people was wrapped again with another wrapping key."""

    keys: int
    wrapping_key_id: str
    rotated_at: datetime


@stored_as("operation.evaluations_archived")
class EvaluationsArchived(Event, frozen=True, kw_only=True):
    """Closed evaluations went from the store to an archive file that proves itself."""

    file: str
    sha256: str
    first_position: int
    last_position: int
    events: int
    archived_at: datetime


@stored_as("operation.evaluation_retried")
class EvaluationRetried(Event, frozen=True, kw_only=True):
    """An evaluation that had been given up was handed out once more."""

    evaluation_id: UUID
    retried_at: datetime


@stored_as("operation.evaluation_dropped")
class EvaluationDropped(Event, frozen=True, kw_only=True):
    """An evaluation that had been given up was forgotten; `reason` is the operator's."""

    evaluation_id: UUID
    reason: str
    dropped_at: datetime


OperationEvent = (
    ParkedRetried
    | ParkedSkipped
    | ProjectionRebuilt
    | ProjectionRolledBack
    | StoreRepaired
    | KeysRotated
    | EvaluationsArchived
    | EvaluationRetried
    | EvaluationDropped
)
