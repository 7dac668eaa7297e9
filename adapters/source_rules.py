"""What may be watched, and with which selectors: the port `commands.plan_compiler.SourceRules`."""

from adapters.fact_selection import check_select
from adapters.network_guard import AddressRefused, NetworkGuard
from adapters.playwright_browser import INSTALL
from adapters.request_headers import check_headers
from domain.errors import InvalidInput, SearchNotAvailable
from domain.fact import Select
from domain.source import HttpSource, SearchSource, SignalSource, Source

QUERY_CHARS_MIN, QUERY_CHARS_MAX = 3, 400


class SourceRules:
    """Refuses, when a monitor is made, what no evaluation would be allowed or able to read."""

    def __init__(self, guard: NetworkGuard, *, can_render: bool = False, can_search: bool = False) -> None:
        self._guard = guard
        self._can_render, self._can_search = can_render, can_search

    def check_source(self, source: Source, *, field: str) -> None:
        """Raise `InvalidInput` for an address the guard refuses or a selector that does not compile, `SearchNotAvailable`
        for a search. Whether a person has a signal source is asked elsewhere."""
        if isinstance(source, SearchSource):
            self._check_search(source, field=field)
            return
        if isinstance(source, SignalSource):
            return
        try:
            self._guard.check_url(source.url)
        except AddressRefused as refused:
            raise InvalidInput(str(refused), field=f"{field}.url") from None
        if isinstance(source, HttpSource):
            check_headers(source.headers, field=f"{field}.headers")
            if source.render and not self._can_render:
                raise InvalidInput(INSTALL, field=f"{field}.render")
            if source.select is not None:
                self.check_select(source.select, field=f"{field}.select")

    def _check_search(self, source: SearchSource, *, field: str) -> None:
        if not self._can_search:
            raise SearchNotAvailable(field=f"{field}.type")
        if not QUERY_CHARS_MIN <= len(source.query.strip()) <= QUERY_CHARS_MAX:
            message = f"what is searched for is {QUERY_CHARS_MIN} to {QUERY_CHARS_MAX} characters"
            raise InvalidInput(message, field=f"{field}.query")

    def check_select(self, select: Select, *, field: str) -> None:
        """Raise `InvalidInput` for a selector that does not compile."""
        check_select(select, field)
