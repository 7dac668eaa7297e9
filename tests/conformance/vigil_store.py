"""The bridge from the library's unittest cases to the fixtures of this test suite."""

from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest
from eventsourcing.utils import Environment

from adapters.eventsourcing_store import VigilFactory


class OnFreshStore:
    """Gives every case a fresh, migrated database, told by the environment, and closes what it opened."""

    settings: dict[str, str]

    @pytest.fixture(autouse=True)
    def _open_store(self, database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        self.settings = {
            "PERSISTENCE_MODULE": "adapters.eventsourcing_store",
            "VIGIL_DATABASE_URL": database,
            "STORE_ACCESS": "write",
        }
        for name, value in self.settings.items():
            monkeypatch.setenv(name, value)
        with ExitStack() as self._opened:
            yield

    def open_factory(self) -> VigilFactory:
        """A factory on this case's store, closed after it."""
        return self._opened.enter_context(closing(VigilFactory(Environment("Conformance", self.settings))))
