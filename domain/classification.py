"""Classification: turning a prompt into the parts of a plan."""

from dataclasses import dataclass
from uuid import UUID

import msgspec

from domain.fact import FactSpec
from domain.plan import Fires
from domain.schedule import Schedule
from domain.source import Source


@dataclass(slots=True)
class Spent:
    """What models cost that were asked to compile a prompt, in millionths of a US dollar. It grows as they are asked, so that
    what came to nothing counts, too."""

    micros: int = 0


class ClassifyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a person gave: the prompt and its sources, and whatever of the plan they wrote themselves (None: not given).
    `schedule_default` is what holds when neither they nor the prompt say how often.

    Models are asked at the expense of `owner_id`, `provider` first (None: as the installation says); what they cost is added
    to `spent`. Without sources what is to be searched for is read from the prompt, too.
    """

    prompt: str
    sources: tuple[Source, ...]
    owner_id: UUID
    facts: tuple[FactSpec, ...] | None = None
    condition: str | None = None
    reset_condition: str | None = None
    fires: Fires | None = None
    schedule: Schedule | None = None
    schedule_default: Schedule | None = None
    provider: str | None = None
    spent: Spent = msgspec.field(default_factory=Spent)

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left that would have to be read from the prompt, but for the schedule."""
        return bool(self.sources) and self.facts is not None and self.condition is not None


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """What a prompt was read as. `explanation` says in plain words what is watched and when it fires; `schedule` is the
    one given, else the one the prompt names, else the default; `name` is a suggestion; `fires` None leaves it to the condition;
    `reset_condition` None: none; `search_query` is what to search the web for where no source is given."""

    facts: tuple[FactSpec, ...]
    condition: str
    explanation: str
    schedule: Schedule | None = None
    name: str
    fires: Fires | None = None
    reset_condition: str | None = None
    search_query: str | None = None
