"""What was recorded of the shapes of stored events, and whether the present ones may stand beside it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from difflib import unified_diff
from pathlib import Path

from domain.event import Event
from domain.shape import shape_of

FOLDER = Path(__file__).parent
SHAPES = FOLDER / "shapes.json"

Shapes = Mapping[str, Mapping[str, Sequence[str]]]
"""By tag and version (a text, as keys are in JSON), the lines of `domain.shape`."""
Types = Mapping[str, type[Event]]


def recorded_shapes() -> Shapes:
    """Those of every version that was ever stored."""
    shapes: Shapes = json.loads(SHAPES.read_text()) if SHAPES.exists() else {}
    return shapes


def faults(recorded: Shapes, present: Types) -> Iterator[str]:
    """What makes stored events unreadable with the present types, and what to do about it."""
    for tag in sorted(recorded.keys() - present.keys()):
        yield f"{tag!r} is stored and nothing reads it any more. A tag is never given up: keep its class and its fold."
    for tag in sorted(recorded.keys() & present.keys()):
        versions, version, shape = recorded[tag], present[tag].tag_version, shape_of(present[tag])
        newest = _newest(versions)
        if version < newest:
            yield f"{tag!r} went back to version {version}, but version {newest} is stored. Versions only grow."
        elif version == newest and list(versions[str(version)]) != shape:
            yield _changed(tag, version, versions[str(version)], shape)


def missing(recorded: Shapes, present: Types) -> Iterator[str]:
    """What was not recorded yet, and what to do about it."""
    for tag, cls in sorted(present.items()):
        if cls.tag_version > _newest(recorded.get(tag, {})):
            yield f"version {cls.tag_version} of {tag!r} is not recorded: run `make golden` and commit what it writes"


def _newest(versions: Mapping[str, object]) -> int:
    return max(map(int, versions), default=0)


def _changed(tag: str, version: int, before: Sequence[str], now: Sequence[str]) -> str:
    lines = [line for line in unified_diff(before, now, n=0, lineterm="") if line[:2] not in {"--", "++", "@@"}]
    return "\n".join(
        [
            f"the shape of {tag!r} changed and its version did not:",
            *(f"    {line}" for line in lines),
            "Events are stored as it was. Take that back, or",
            f'    1. write @stored_as("{tag}", version={version + 1}) over its class,',
            f'    2. write @upcasts("{tag}", from_version={version}) over a step below it (domain/upcasting.py),',
            "    3. run `make golden` and commit what it writes.",
        ]
    )
