"""The name of a stream as people write it: its id, or its kind and its id, `monitor-<id>`."""

import re
from dataclasses import dataclass
from uuid import UUID

from domain.errors import InvalidInput

_NAME = re.compile(
    r"(?:(?P<kind>[a-z_]+)-)?(?P<id>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.IGNORECASE | re.ASCII
)


@dataclass(frozen=True, slots=True)
class StreamName:
    """A stream's id, and its kind where that was said too."""

    kind: str | None
    id: UUID

    def __str__(self) -> str:
        """As people write it."""
        return str(self.id) if self.kind is None else f"{self.kind}-{self.id}"

    def fits(self, kind: str) -> bool:
        """Whether a stream of this kind and this id is the one that is named."""
        return self.kind in {None, kind}


def read_stream_name(text: str) -> StreamName:
    """The name in a text, in letters of either case. Raises `InvalidInput` for anything else, also for the other forms that
    an id may have (without hyphens, in braces, as a URN)."""
    match = _NAME.fullmatch(text)
    if match is None:
        raise InvalidInput("write a stream as its id, or with its kind before: monitor-<id>", field="stream")
    return StreamName(match["kind"] and match["kind"].lower(), UUID(match["id"]))
