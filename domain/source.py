"""Sources: where a monitor looks."""

from collections.abc import Iterable
from uuid import UUID

import msgspec

from domain.fact import Select


class HttpSource(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="http", forbid_unknown_fields=True):
    """A web page, JSON document or CSV file read with GET. `select` is the default for facts without their own; with `render`
    a page is read as it is after its scripts ran in a browser."""

    url: str
    select: Select | None = None
    headers: dict[str, str] = {}
    render: bool = False


class FeedSource(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="feed", forbid_unknown_fields=True):
    """An RSS or Atom feed."""

    url: str


class SignalSource(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="signal", forbid_unknown_fields=True
):
    """What others send: the last signal of the signal source `id`, which is the person's own."""

    id: UUID


class SearchSource(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="search", forbid_unknown_fields=True
):
    """What a search of the web finds for `query`."""

    query: str


WebSource = HttpSource | FeedSource
"""What is fetched from an address."""

Source = WebSource | SignalSource | SearchSource


def signal_ids(sources: Iterable[Source]) -> tuple[UUID, ...]:
    """The signal sources among these, each once."""
    return tuple(dict.fromkeys(source.id for source in sources if isinstance(source, SignalSource)))
