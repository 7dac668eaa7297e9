"""Upcasting: an event that was stored in an older version is brought to the present one, each time it is read.

What is stored is never touched, so the hash chain and its signatures stay as they were. Beside an event's class stands,
for each of its older versions, the step from that version to the next:

    @stored_as("monitor.renamed", version=2)
    class MonitorRenamed(Event, frozen=True, kw_only=True): ...

    @upcasts("monitor.renamed", from_version=1)
    def _say_why(fields: Fields) -> Fields:
        return fields | {"reason": None}

A step is a pure function of the stored fields. It may meet the placeholders that stand for what an erased person said.

One event stays one event under its tag: places in the log and versions in streams are counted by it. So there is no step
that gives several events or another tag. A class may be renamed at will, since its name is stored nowhere; an event that
is to be told otherwise gets a new tag, and the old one keeps its class and its fold.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

Fields = dict[str, Any]
"""An event's stored fields as JSON has them: texts for times and ids."""

Step = Callable[[Fields], Fields]
S = TypeVar("S", bound=Step)


class Upcasters:
    """The steps of events, each from one version of a tag to the next."""

    def __init__(self) -> None:
        self._steps: dict[tuple[str, int], Step] = {}

    def upcasts(self, tag: str, *, from_version: int) -> Callable[[S], S]:
        """Declare the step of `tag` from a version to the next. Raises `ValueError` when another function is that step."""

        def register(step: S) -> S:
            taken = self._steps.get((tag, from_version))
            if taken is not None and (taken.__module__, taken.__qualname__) != (step.__module__, step.__qualname__):
                raise ValueError(f"{tag!r} has its step from version {from_version} already: {taken.__qualname__}")
            self._steps[tag, from_version] = step
            return step

        return register

    def check(self, present: Mapping[str, int]) -> None:
        """Raise `ValueError` unless a chain of steps leads from each older version of each tag to its present one, and no
        step leads anywhere else."""
        needed = {(tag, version) for tag, newest in present.items() for version in range(1, newest)}
        for tag, version in sorted(needed - self._steps.keys()):
            raise ValueError(f"nothing brings {tag!r} from version {version} to {version + 1}: declare a step for it")
        for tag, version in sorted(self._steps.keys() - needed):
            raise ValueError(f"the step of {tag!r} from version {version} leads past its present version")

    def upcast(self, tag: str, version: int, data: bytes | str) -> bytes:
        """The JSON of an event, stored in `version`, as the present version has it."""
        fields = msgspec.json.decode(data, type=Fields)
        while (step := self._steps.get((tag, version))) is not None:
            fields, version = step(fields), version + 1
        return msgspec.json.encode(fields)


UPCASTERS = Upcasters()
"""Those of the events of this program; the codec checks them when it is imported."""

upcasts = UPCASTERS.upcasts
