"""What `vigil monitors` tells of models, their costs and their mistakes, against a `vigil up` with a stand-in for a provider."""

import asyncio
import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_cli_monitors import EMAIL, PASSWORD, Shell
from tests.cli.vigil_process import RunningVigil, data_folder, vigil, working_in
from tests.model_server import Answer, Asked, model_server, ok
from tests.reading_model import content_of, reads

SOLD_OUT = {"name": "gone", "type": "boolean", "description": "sold out", "read_by": "model"}
RATING = {"name": "rating", "type": "number", "description": "what buyers say", "read_by": "model"}
CREDIT = {"name": "credit", "type": "number", "description": "what is lent", "read_by": "model"}
COMPILED = {
    "name": "Kettle", "facts": [{**SOLD_OUT, "unit": None, "select": None}], "condition": "gone",
    "reset_condition": None, "fires": None, "schedule": {"every_seconds": 3600, "cron": None, "timezone": None},
    "explanation": "Reads whether it is sold out.", "search_query": None, "questions": [],
}  # fmt: skip


class Page(BaseHTTPRequestHandler):
    """A page of a kettle."""

    def do_GET(self) -> None:
        body = b"<main><h1>Kettle</h1><p>Sorry, sold out</p><p>rating 4</p></main>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def answers(asked: Asked) -> Answer:
    """Compiles every prompt into the same; is unsure of ratings, and makes credits up."""
    content = content_of(asked)
    if "search_query" in json.dumps(asked.body):
        return ok(COMPILED)
    if '"rating"' in content:
        return ok({"rating": {"quote": "rating 4", "value": 4.0, "confidence": 0.4}})
    if '"credit"' in content:
        return ok({"credit": {"quote": "lends you 500", "value": 500.0, "confidence": 0.9}})
    return reads(asked)


@contextmanager
def provider() -> Iterator[str]:
    """The provider's server in a thread of its own, because commands have loops of theirs: its address."""
    address: list[str] = []
    started, loop = threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        async with model_server(answers) as server:
            address.append(server.openai_url)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert started.wait(20)
    try:
        yield address[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@pytest.fixture(scope="module")
def page() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/kettle"
        server.shutdown()
        thread.join()


@contextmanager
def up_with_a_model(**more: str) -> Iterator[Path]:
    """The folder of a Vigil that is up, with a person. Its one provider is a server of one's own, at a price."""
    with provider() as url, data_folder() as folder:
        (folder.parent / "vigil.toml").write_text(f'openai_base_url = "{url}"\n')
        running = RunningVigil(
            folder,
            "up",
            fetch_allow_networks="127.0.0.0/8",
            log_level="error",
            ai_providers="openai,rules",
            openai_model="own",
            ai_prices="own=1/2,stand-in-1=1/2",
            **more,
        )
        running.ready()
        made = vigil("users", "create", EMAIL, "--name", "Ada", data_dir=str(folder), given=f"{PASSWORD}\n")
        assert made.returncode == 0, made.stderr
        yield folder
        running.ask(signal.SIGINT)
        assert running.exit_code() == 0
        assert working_in(folder) == []


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    with up_with_a_model() as folder:
        yield folder


@pytest.fixture
def ada(data_dir: Path, tmp_path: Path) -> Shell:
    shell = Shell(data_dir, tmp_path / "config" / "vigil")
    shell.does("login", "--email", EMAIL, given=f"{PASSWORD}\n")
    return shell


def plainly(text: str) -> str:
    return " ".join(text.split())


def reading(fact: dict[str, Any], condition: str) -> tuple[str, ...]:
    return ("--fact", json.dumps(fact), "--condition", condition, "--every", "PT1H")


def test_what_a_prompt_and_its_looks_cost_is_told_by_trial_creation_and_show(ada: Shell, page: str) -> None:
    wish = ("monitors", "add", "tell me when the kettle can no longer be had", "--source", page, "--batch")
    tried = plainly(ada.does(*wish, "--dry-run"))
    assert "cost at most" in tried
    assert "24 calls of" in tried
    assert "as in this trial" in tried
    assert "takes batches" in tried
    assert "USD once: the prompt was compiled by a model" in tried
    assert "gone was read from “sold out” at" in tried
    assert "with a confidence of 0.9: the words stand there" in tried
    assert "gone = yes" in tried
    made = ada.does(*wish, "--name", "Kettle")
    assert "an estimate for texts of typical size" in plainly(made)
    assert "USD once: the prompt was compiled by a model" in made
    for which in ("Kettle", ada.tells("monitors", "show", "kettle")["id"]):
        shown = plainly(ada.does("monitors", "show", which))
        assert "cost at most" in shown, "also by its name"
        assert "takes batches" in shown
        assert "compiled by a model" not in shown


@pytest.mark.parametrize(
    ("fact", "reason", "line"),
    [
        (RATING, "rating was read with a confidence of 0.4, which is below 0.5", "rating is not used: 4 was read with a confidence of 0.4"),
        (CREDIT, "does not stand in the evidence", "credit is not believed: 500 was read, but “lends you 500” does not stand"),
    ],
)  # fmt: skip
def test_a_value_that_is_not_used_says_why(ada: Shell, page: str, fact: dict[str, Any], reason: str, line: str) -> None:
    name = fact["name"]
    ada.does("monitors", "add", "note", "--source", page, "--name", name, *reading(fact, f"{name} > 3.0"))
    told = ada.does("monitors", "evaluate", name, "--wait")
    verdict, why, *rest = told.splitlines()
    assert verdict.startswith("inconclusive: ")
    assert reason in why
    assert line in "\n".join(rest)
    raw = ada.tells("monitors", "evaluate", name, "--wait")
    assert raw["facts"][0]["confidence"] == (0.4 if fact is RATING else 0.0)
