"""What may be watched, and with which selectors: the port `commands.plan_compiler.SourceRules`."""

from adapters.fact_selection import check_select
from adapters.network_guard import AddressRefused, NetworkGuard
from adapters.request_headers import check_headers
from domain.errors import InvalidInput
from domain.fact import Select
from domain.source import HttpSource, Source


class SourceRules:
    """Refuses, when a monitor is made, what no evaluation would be allowed or able to read."""

    def __init__(self, guard: NetworkGuard) -> None:
        self._guard = guard

    def check_source(self, source: Source, *, field: str) -> None:
        """Raise `InvalidInput` for an address the guard refuses or a selector that does not compile."""
        try:
            self._guard.check_url(source.url)
        except AddressRefused as refused:
            raise InvalidInput(str(refused), field=f"{field}.url") from None
        if isinstance(source, HttpSource):
            check_headers(source.headers, field=f"{field}.headers")
            if source.select is not None:
                self.check_select(source.select, field=f"{field}.select")

    def check_select(self, select: Select, *, field: str) -> None:
        """Raise `InvalidInput` for a selector that does not compile."""
        check_select(select, field)
