"""What `vigil monitors` and `vigil events` tell while evaluations wait and models read, against a `vigil up` whose provider takes
batches. None is sent: they are gathered for longer than a test takes."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cli.monitor_lines import listed_lines, monitor_lines
from domain.forecast import BATCHED
from tests.cli.test_cli_costs import plainly, up_with_a_model
from tests.cli.test_cli_monitors import EMAIL, PASSWORD, Shell
from tests.cli.vigil_process import SECONDS_MAX, vigil

GONE = "gone:boolean=model:sold out"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Page(BaseHTTPRequestHandler):
    """A page of a kettle, and its price: the first is slow to come, and only the second is low."""

    asked: threading.Event
    let_go: threading.Event
    looks = 0

    def do_GET(self) -> None:
        body = b"<main><h1>Kettle</h1><p>Sorry, sold out</p></main>"
        if self.path == "/price.json":
            Page.looks += 1
            body = json.dumps({"price": 189.0 if Page.looks == 2 else 249.0}).encode()
            if Page.looks == 1:
                self.asked.set()
                self.let_go.wait(SECONDS_MAX)
        self.send_response(200)
        self.send_header("Content-Type", "application/json" if self.path == "/price.json" else "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    Page.asked, Page.let_go = threading.Event(), threading.Event()
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        Page.let_go.set()
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    with up_with_a_model(openai_wire="responses") as folder:
        yield folder


@pytest.fixture
def ada(data_dir: Path, tmp_path: Path) -> Shell:
    shell = Shell(data_dir, tmp_path / "config" / "vigil")
    shell.does("login", "--email", EMAIL, given=f"{PASSWORD}\n")
    return shell


def eventually(tell: Callable[[], str], words: str) -> str:
    """What is told once it has the words."""
    deadline = time.monotonic() + SECONDS_MAX
    while words not in (told := tell()):
        assert time.monotonic() < deadline, told
        time.sleep(0.05)
    return told


def test_the_evaluation_that_ended_last_is_shown_though_a_later_one_was_asked_for(ada: Shell, site: str) -> None:
    wish = ("monitors", "add", "note", "--source", f"{site}/price.json", "--name", "Slow", "--every", "PT1H")
    ada.does(*wish, "--fact", "price:number=jsonpath:$.price", "--condition", "price < 200.0")
    assert Page.asked.wait(SECONDS_MAX), "its first slot is looked at"
    assert "price = 189" in ada.does("monitors", "evaluate", "Slow", "--wait")
    Page.let_go.set()
    shown = eventually(lambda: ada.does("monitors", "show", "Slow"), "price = 249")
    assert "the last evaluation:\n  not_met: price < 200" in shown
    assert "state       inactive" in shown


def test_a_fact_for_a_model_is_written_in_one_word_and_read(ada: Shell, site: str, data_dir: Path) -> None:
    wish = ("monitors", "add", "note", "--source", site, "--every", "PT1H", "--fact", GONE, "--condition", "gone")
    tried = ada.does(*wish, "--dry-run")
    assert "gone: boolean, read by a model" in tried
    assert "met: gone" in tried
    assert "gone was read from “sold out” at" in tried
    log = vigil("events", "tail", "--no-follow", "--type", "model.called", data_dir=str(data_dir)).stdout
    assert "called       openai stand-in-1: ok, 0.00" in log
    assert " USD" in log


def test_a_monitor_that_waits_for_its_batch_says_so(ada: Shell, site: str) -> None:
    by_batch = "read by batch (--batch): may take hours, for half the price"
    wish = ("monitors", "add", "note", "--source", site, "--every", "PT1H", "--condition", "gone", "--fact")
    assert by_batch not in plainly(ada.does(*wish, GONE, "--dry-run"))
    assert by_batch in plainly(ada.does(*wish, GONE, "--batch", "--dry-run"))
    never_asked = "gone:boolean=model:Sorry"
    assert by_batch in plainly(ada.does(*wish, never_asked, "--batch", "--name", "Patient"))
    shown = plainly(ada.does("monitors", "show", "Patient"))
    due_at = ada.tells("monitors", "show", "Patient")["next_due_at"]
    assert by_batch in shown
    assert f"last look none yet next look waits for its batch since {due_at}" in shown
    assert f"waits for its batch since {due_at}" in ada.does("monitors", "list")


@pytest.mark.parametrize(
    ("minutes", "batch", "basis", "told"),
    [
        (-5, True, BATCHED, "waits for its batch since 2026-03-01T11:55:00Z"),
        (5, True, BATCHED, "2026-03-01T12:05:00Z"),
        (-5, True, "Nobody takes batches.", "2026-03-01T11:55:00Z"),
        (-5, True, None, "waits for its batch since 2026-03-01T11:55:00Z"),
        (-5, False, None, "2026-03-01T11:55:00Z"),
        (None, True, BATCHED, "none"),
    ],
)
def test_a_slot_is_waited_for_only_where_somebody_takes_batches(
    minutes: int | None,
    batch: bool,  # noqa: FBT001  a column of the table
    basis: str | None,
    told: str,
) -> None:
    due_at = None if minutes is None else (NOW + timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")
    costs: dict[str, Any] = {"calls_a_day_max": None, "cost_micros_a_day_max": None, "cost_micros_a_call": 1}
    monitor = {
        "id": "1", "name": "Kettle", "state": "unknown", "status": "active", "prompt": "p", "condition": "gone", "facts": [],
        "sources": [], "schedule": {}, "explanation": "", "batch": batch, "last_evaluated_at": None, "next_due_at": due_at,
        "forecast": None if basis is None else {**costs, "is_estimated": True, "notes": [], "basis": f"So. {basis}"},
    }  # fmt: skip
    assert monitor_lines(monitor, now=NOW)[-1] == f"  next look   {told}"
    listed = listed_lines([monitor], now=NOW)[1]
    assert ("-" if told == "none" else told) in listed
