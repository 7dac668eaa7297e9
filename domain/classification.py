"""Classification: turning a prompt into the parts of a plan."""

import msgspec

from domain.fact import FactSpec
from domain.plan import Fires
from domain.schedule import Schedule
from domain.source import Source


class ClassifyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a person gave: the prompt and its sources, and whatever of the plan they wrote themselves (None: not given).
    `schedule_default` is what holds when neither they nor the prompt say how often."""

    prompt: str
    sources: tuple[Source, ...]
    facts: tuple[FactSpec, ...] | None = None
    condition: str | None = None
    schedule: Schedule | None = None
    schedule_default: Schedule | None = None


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """What a prompt was read as. `explanation` says in plain words what is watched and when it fires; `schedule` is the
    one given, else the one the prompt names, else the default; `name` is a suggestion; `fires` None leaves it to the condition."""

    facts: tuple[FactSpec, ...]
    condition: str
    explanation: str
    schedule: Schedule | None = None
    name: str
    fires: Fires | None = None
