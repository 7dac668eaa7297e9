"""Sources: where a monitor looks."""

import msgspec

from domain.fact import Select


class HttpSource(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="http", forbid_unknown_fields=True):
    """A web page, JSON document or CSV file read with GET. `select` is the default for facts without their own."""

    url: str
    select: Select | None = None
    headers: dict[str, str] = {}


class FeedSource(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="feed", forbid_unknown_fields=True):
    """An RSS or Atom feed."""

    url: str


Source = HttpSource | FeedSource
