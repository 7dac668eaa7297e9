"""`vigil up` and its roles as processes: they become ready, serve, and leave nothing behind however they end."""

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.cli.vigil_process import RunningVigil, data_folder, get, vigil, working_in


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    """One folder for the module, so that its cluster is made once; every test leaves it without a process."""
    with data_folder() as folder:
        yield folder


@pytest.fixture(autouse=True)
def nothing_stays(data_dir: Path) -> Iterator[None]:
    """A failing test does not let the others fail."""
    yield
    for process in working_in(data_dir):
        process.kill()


def test_it_serves_and_an_interrupt_stops_it_without_a_trace(data_dir: Path) -> None:
    running = RunningVigil(data_dir, "up")
    url = running.ready()
    status, readiness = get(f"{url}/health/ready")
    assert (status, readiness["status"]) == (200, "ready")
    assert get(f"{running.inbox()}/api/messages")[0] == 200
    assert any(process.name() == "postgres" for process in working_in(data_dir))
    running.ask(signal.SIGINT)
    assert running.exit_code(within_seconds=10) == 0
    assert "Vigil has stopped." in running.output
    assert "Traceback" not in running.output
    assert working_in(data_dir) == []


def test_after_a_kill_the_next_start_works(data_dir: Path) -> None:
    killed = RunningVigil(data_dir, "up")
    killed.ready()
    killed.ask(signal.SIGKILL)
    killed.exit_code()
    left_behind = {process.pid for process in working_in(data_dir)}
    assert left_behind
    running = RunningVigil(data_dir, "up")
    assert get(f"{running.ready()}/health/ready")[0] == 200
    # Its terminal is closed; under nohup, where that means nothing, it is asked otherwise.
    running.ask(signal.SIGTERM if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else signal.SIGHUP)
    assert running.exit_code() == 0
    assert working_in(data_dir) == []


def test_asked_to_stop_while_it_starts_it_stops(data_dir: Path) -> None:
    running = RunningVigil(data_dir, "up")
    running.wait_for("PostgreSQL")
    running.ask(signal.SIGTERM)
    assert running.exit_code() == 0
    assert working_in(data_dir) == []


def test_a_second_one_in_the_same_folder_is_refused_and_other_commands_find_the_first(data_dir: Path) -> None:
    first = RunningVigil(data_dir, "up")
    url = first.ready()
    second = RunningVigil(data_dir, "up")
    assert second.exit_code() == 1
    assert f"is in use by process {first.process.pid}" in second.output
    assert len(second.output.splitlines()) == 1

    found = {"data_dir": str(data_dir)}
    assert "position 0 of 0" in vigil("projections", "status", **found).stdout
    assert vigil("doctor", **found).returncode == 0
    tail = RunningVigil(data_dir, "events", "tail", "--json")
    created = vigil("users", "create", "ada@example.org", "--name", "Ada", given="a long sentence\n", **found)
    assert created.returncode == 0, created.stderr
    tail.wait_for('"type":"user.email_verified"')
    tail.ask(signal.SIGINT)
    assert tail.exit_code() == 0
    worker = RunningVigil(data_dir, "worker", "evaluator", "mailer")
    assert worker.ready() == "evaluator mailer"
    api = RunningVigil(data_dir, "api")
    other_url = api.ready()
    assert other_url != url
    assert get(f"{other_url}/health/ready")[0] == 200
    for process in (worker, api):
        process.ask(signal.SIGTERM)
        assert process.exit_code() == 0
    taken = RunningVigil(data_dir, "api", http_port=url.rpartition(":")[2])
    assert taken.exit_code() == 1
    assert "is taken" in taken.output
    first.ask(signal.SIGINT)
    assert first.exit_code() == 0


def test_a_port_somebody_chose_is_not_replaced_by_another(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        running = RunningVigil(data_dir, "up", inbox_port=port)
        assert running.exit_code() == 1
    assert running.output.splitlines() == [
        f"error: port {port} is taken: stop what listens there, or set VIGIL_INBOX_PORT to another (0: any that is free)"
    ]


def test_an_embedded_server_that_dies_ends_it_with_a_sentence(data_dir: Path) -> None:
    running = RunningVigil(data_dir, "up", log_level="error")
    running.ready()
    (redis,) = [process for process in working_in(data_dir) if process.name() == "redis-server"]
    redis.kill()
    assert running.exit_code() == 1
    assert "error: the embedded redis server ended" in running.output
    assert "Traceback" not in running.output
    assert working_in(data_dir) == []
    assert not psutil.pid_exists(running.process.pid)
