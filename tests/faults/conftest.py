"""What the fault suite shares with the other tests: their PostgreSQL, and one nursery of processes for each test process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.launcher import Launcher
from faults.servers import Servers


@pytest.fixture(scope="session")
def launcher() -> Iterator[Launcher]:
    opened = Launcher()
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def servers(postgres_url: str, template_database: str, launcher: Launcher, servers_folder: Path) -> Servers:
    folder = servers_folder / "faults"
    return Servers(postgres_url, template_database, launcher, folder, servers_folder / "postgres.log")
