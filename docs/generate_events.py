"""Writes docs/events.md from the event classes themselves: `python docs/generate_events.py`."""

from pathlib import Path

from domain.event import event_types
from domain.event_codec import AGGREGATES

TARGET = Path(__file__).with_name("events.md")

HEAD = """# Events

Every event that is ever stored, by its tag. A tag is stable for ever; the classes may move. Older versions than the one told
here are brought to it when they are read; the fields of every version ever stored stand in `tests/golden/shapes.json`.

| tag | version | fields | meaning |
|---|---|---|---|
"""


def events_page() -> str:
    """The page as it should be."""
    rows = []
    for tag, cls in sorted(event_types().items()):
        meaning = " ".join((cls.__doc__ or "").split())
        fields = ", ".join(f"`{name}`" for name in cls.__struct_fields__)
        rows.append(f"| `{tag}` | {cls.tag_version} | {fields} | {meaning} |")
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    _ = AGGREGATES
    TARGET.write_text(events_page())
