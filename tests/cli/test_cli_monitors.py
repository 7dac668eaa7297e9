"""`vigil login` and `vigil monitors` as a person uses them, against a `vigil up` and a shop on this machine."""

import json
import signal
import stat
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import structlog
from typer.testing import CliRunner

from cli.kept_sessions import KeptSessions
from cli.main import app
from cli.monitor_lines import cost_lines, evaluation_lines, listed_lines, plan_lines
from cli.watching import Wanted, read_fact
from domain.errors import InvalidInput
from tests.cli.vigil_process import RunningVigil, data_folder, prefixed, vigil, working_in
from tests.conftest import AT

runner = CliRunner()

EMAIL, PASSWORD = "ada@example.org", "a long sentence"


class Shop(BaseHTTPRequestHandler):
    """Sells a kettle."""

    price = 249.0

    def do_GET(self) -> None:
        body = json.dumps({"price": self.price, "title": "Kettle\x1b[31m"}).encode()
        self.send_response(200 if self.path == "/kettle.json" else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def shop() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Shop) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/kettle.json"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    """The folder of a Vigil that is up."""
    with data_folder() as folder:
        running = RunningVigil(folder, "up", fetch_allow_networks="127.0.0.0/8", log_level="error")
        running.ready()
        made = vigil("users", "create", EMAIL, "--name", "Ada", data_dir=str(folder), given=f"{PASSWORD}\n")
        assert made.returncode == 0, made.stderr
        yield folder
        running.ask(signal.SIGINT)
        assert running.exit_code() == 0
        assert working_in(folder) == []


class Shell:
    """A person with a configuration folder of their own. The commands run inside this process, which saves a start each."""

    def __init__(self, data_dir: Path, config_dir: Path) -> None:
        self.settings = {"data_dir": str(data_dir), "config_dir": str(config_dir)}
        self.file = config_dir / "sessions.json"

    def run(self, *arguments: str, given: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
        said = prefixed({**self.settings, **settings})
        logs_as_before = structlog.get_config()  # a command sends them to its own standard error, which ends with it
        done = runner.invoke(app, arguments, input=given, env=said)
        structlog.configure(**logs_as_before)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)

    def does(self, *arguments: str, given: str = "", **settings: str) -> str:
        done = self.run(*arguments, given=given, **settings)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "\x1b" not in done.stdout
        return done.stdout

    def tells(self, *arguments: str) -> Any:  # noqa: ANN401  JSON
        return json.loads(self.does(*arguments, "--json"))

    def fails(self, *arguments: str, given: str = "", code: int = 1, **settings: str) -> str:
        done = self.run(*arguments, given=given, **settings)
        assert done.returncode == code, done.stdout + done.stderr
        assert done.stderr.startswith("error: ")
        return done.stderr


@pytest.fixture
def stranger(data_dir: Path, tmp_path: Path) -> Shell:
    return Shell(data_dir, tmp_path / "config" / "vigil")


@pytest.fixture
def ada(stranger: Shell) -> Shell:
    stranger.does("login", "--email", EMAIL, given=f"{PASSWORD}\n")
    return stranger


def test_a_person_adds_a_monitor_and_sees_why_it_fired(ada: Shell, shop: str) -> None:
    """The way of the first minutes, as somebody types it."""
    wish = ("Tell me when the price drops below 200", "--source", shop, "--name", "Kettle", "--every", "PT1H")
    tried = ada.does("monitors", "add", *wish, "--dry-run")
    assert "nothing was stored" in tried
    assert "not_met: price < 200" in tried
    assert ada.does("monitors", "list") == "no monitors\n"

    added = ada.does("monitors", "add", *wish)
    assert added.startswith("Kettle  ")
    assert "schedule    every PT1H" in added
    first = ada.does("monitors", "evaluate", "Kettle", "--wait")
    assert "price = 249" in first
    assert first.endswith(" inactive\n"), "whichever of the first two looks it is"
    Shop.price = 189.0
    fired = ada.does("monitors", "evaluate", "kettle", "--wait")
    assert fired.startswith("met: price < 200")
    assert "price was read from “189.0” at " + shop in fired
    assert "state inactive → active" in fired

    shown = ada.does("monitors", "show", "Kettle")
    assert "state       active\n  status      active\n" in shown
    assert "the last evaluation:\n  met: " in shown
    (listed,) = ada.tells("monitors", "list", "--state", "active")
    assert ada.tells("monitors", "show", listed["id"]) == listed
    assert ada.tells("monitors", "list", "--search", "drops below")[0]["name"] == "Kettle"
    assert ada.does("monitors", "list").splitlines()[1].split()[:3] == ["active", "active", "Kettle"]
    assert ada.tells("monitors", "evaluate", "Kettle", "--wait")["verdict"] == "met"
    assert set(ada.tells("monitors", "evaluate", "Kettle")) == {"id"}

    assert ada.does("monitors", "pause", "Kettle") == "Kettle is paused\n"
    assert "resume it first" in ada.fails("monitors", "evaluate", "Kettle")
    assert [each["name"] for each in ada.tells("monitors", "list", "--status", "paused")] == ["Kettle"]
    assert ada.does("monitors", "resume", "Kettle") == "Kettle is active\n"
    exported = json.loads(ada.does("monitors", "export", "Kettle"))
    assert [each["name"] for each in exported["monitors"]] == ["Kettle"]
    assert json.loads(ada.does("monitors", "export"))["monitors"] == exported["monitors"]
    assert "say --yes" in ada.fails("monitors", "delete", "Kettle", code=2)
    assert ada.does("monitors", "delete", "Kettle", "--yes") == "deleted Kettle\n"
    assert "you have no monitor called 'Kettle'" in ada.fails("monitors", "show", "Kettle")


def test_facts_and_a_condition_can_be_said_in_full(ada: Shell, shop: str) -> None:
    made = ada.tells(
        *("monitors", "add", "my note", "--source", shop, "--condition", 'price < 200.0 && title != ""'),
        *("--fact", "price:number:EUR=jsonpath:$.price", "--fact", '{"name": "title", "type": "text", "select": {"named": "title"}}'),
        *("--cron", "0 8 * * 1-5", "--timezone", "Europe/Berlin", "--confirmations", "2"),
    )  # fmt: skip
    assert made["facts"][0] == {"name": "price", "type": "number", "unit": "EUR", "select": {"jsonpath": "$.price"}}
    assert made["schedule"] == {"cron": "0 8 * * 1-5", "timezone": "Europe/Berlin"}
    assert made["confirmations"] == 2
    ada.does("monitors", "delete", made["id"], "--yes")


def test_a_source_that_cannot_be_read_fails_the_evaluation_and_the_command(ada: Shell, shop: str) -> None:
    wish = ("tell me when price < 1", "--name", "Gone", "--source", shop + ".gone")
    tried = ada.run("monitors", "add", *wish, "--dry-run")
    assert (tried.returncode, "failed: " in tried.stdout) == (1, True)
    ada.does("monitors", "add", *wish)
    done = ada.run("monitors", "evaluate", "Gone", "--wait")
    assert (done.returncode, done.stdout.startswith("failed: "), shop in done.stdout) == (1, True, True)
    ada.does("monitors", "delete", "Gone", "--yes")


def test_what_the_api_refuses_is_told_by_field(ada: Shell, shop: str) -> None:
    nowhere = ada.fails("monitors", "add", "tell me when price < 1", code=2)
    assert "sources" in nowhere
    wrong = ada.fails("monitors", "add", "x", "--source", "ftp://shop.example", "--every", "often", code=2)
    assert "schedule.every" in wrong
    typed = ada.fails(
        *("monitors", "add", "note", "--source", shop, "--fact", "price:number=named:price", "--condition", "price < cheap"), code=2
    )  # fmt: skip
    assert "cheap" in typed
    assert "choose one of" in ada.fails("monitors", "list", "--state", "sleepy", code=2)
    assert "--fact: write" in ada.fails("monitors", "add", "x", "--source", shop, "--fact", "price", code=2)


def test_a_session_is_kept_for_its_owner_only_and_ends_at_logout(stranger: Shell) -> None:
    assert "`vigil login`" in stranger.fails("monitors", "list")
    assert "error: The address or the password is wrong" in stranger.fails("login", "--email", EMAIL, given="wrong\n")
    assert not stranger.file.exists()
    told = stranger.does("login", given=f"{EMAIL}\n{PASSWORD}\n")
    assert told.endswith(f"as {EMAIL}\n")
    assert stat.S_IMODE(stranger.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(stranger.file.parent.stat().st_mode) == 0o700
    stranger.does("monitors", "list")
    token = next(iter(json.loads(stranger.file.read_bytes())["sessions"].values()))["access_token"]
    assert stranger.does("logout").startswith("logged out")
    assert "`vigil login`" in stranger.fails("monitors", "list")
    stranger.does("monitors", "list", token=token)
    stranger.does("monitors", "list", "--token", token)
    assert "log in again" in stranger.fails("monitors", "list", token="nonsense")
    assert stranger.does("logout").startswith("nobody was logged in")


def test_an_access_token_that_ran_out_is_renewed_once_whoever_asks(ada: Shell) -> None:
    def age(file: Path) -> None:
        kept = json.loads(file.read_bytes())
        for session in kept["sessions"].values():
            session["expires_at"] = "2026-01-01T00:00:00Z"
        file.write_text(json.dumps(kept))

    age(ada.file)
    outcomes: list[int] = []
    together = [
        threading.Thread(target=lambda: outcomes.append(vigil("monitors", "list", **ada.settings).returncode))
        for _ in range(3)
    ]
    for thread in together:
        thread.start()
    for thread in together:
        thread.join()
    assert outcomes == [0, 0, 0], "a refresh token that is used twice ends the session"
    age(ada.file)
    ada.does("monitors", "list")


def test_a_token_goes_only_to_the_vigil_it_is_of(ada: Shell, shop: str) -> None:
    elsewhere = shop.rpartition("/")[0]
    assert f"nobody is logged in at {elsewhere}" in ada.fails("monitors", "list", "--url", elsewhere)
    for address in (elsewhere, shop + "?"):
        assert "is not Vigil" in ada.fails("monitors", "list", "--url", address, token="made up")
    assert "no Vigil answers at" in ada.fails("monitors", "list", "--url", "http://127.0.0.1:1", token="made up")
    assert "is not the address" in ada.fails("monitors", "list", "--url", "vigil", code=2)


def test_without_a_running_vigil_the_one_of_the_last_login_is_asked(ada: Shell, tmp_path: Path) -> None:
    ada.does("monitors", "list", data_dir=str(tmp_path / "none"))
    nobody = Shell(tmp_path / "none", tmp_path / "nothing")
    assert "say --url, or set VIGIL_PUBLIC_URL" in nobody.fails("monitors", "list")


def test_a_live_stream_ends_with_a_last_word_when_its_server_stops_and_is_never_compressed(
    ada: Shell, shop: str, data_dir: Path
) -> None:
    monitor = ada.tells("monitors", "add", "tell me when price < 1", "--source", shop, "--name", "Live")
    (session,) = json.loads(ada.file.read_bytes())["sessions"].values()
    server = RunningVigil(data_dir, "api")
    connection = HTTPConnection(urlsplit(server.ready()).netloc, timeout=20)
    headers = {"Authorization": f"Bearer {session['access_token']}", "Accept-Encoding": "gzip"}
    connection.request("GET", f"/api/v1/monitors/{monitor['id']}/stream", headers=headers)
    stream = connection.getresponse()
    assert (stream.status, stream.headers["Content-Encoding"]) == (200, None)
    while stream.readline().strip():
        pass
    server.ask(signal.SIGTERM)
    assert stream.read().endswith(b'event: end\r\ndata: {"reason":"shutdown"}\r\n\r\n')
    connection.close()
    assert server.exit_code() == 0
    ada.does("monitors", "delete", "Live", "--yes")


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("price:number", {"name": "price", "type": "number"}),
        ("price:number:EUR", {"name": "price", "type": "number", "unit": "EUR"}),
        ("t:text=css:a[href='x=y:z']", {"name": "t", "type": "text", "select": {"css": "a[href='x=y:z']"}}),
        ("p:number:EUR/kg=jsonpath:$.a", {"name": "p", "type": "number", "unit": "EUR/kg", "select": {"jsonpath": "$.a"}}),
        (
            "gone:boolean=model:whether it's 1=1: sold out",
            {"name": "gone", "type": "boolean", "read_by": "model", "description": "whether it's 1=1: sold out"},
        ),
        ('{"name": "n", "type": "list"}', {"name": "n", "type": "list"}),
    ],
)  # fmt: skip
def test_a_fact_is_written_in_short_or_as_json(text: str, fact: dict[str, Any]) -> None:
    assert read_fact(text) == fact


@pytest.mark.parametrize(
    "text",
    ["", "price", ":number", "price:", "a:b:c:d", "a:text=css", "a:text=", "a:text=:x", "a:text=model:", "{", "{1}"],
)
def test_what_is_no_fact_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidInput, match="--fact"):
        read_fact(text)


def test_another_way_to_read_than_there_is_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(InvalidInput, match=r"'llm' in 'a:text=llm:x' is none of css, xpath, .*, regex, model"):
        read_fact("a:text=llm:x")


def test_who_reads_a_plan_and_what_it_searches_for_is_shown() -> None:
    plan = {
        "condition": "mentions > 0", "schedule": {"every": "PT1H"}, "explanation": "So.", "provider": "claude",
        "facts": [{"name": "mentions", "type": "number", "read_by": "model"}],
        "sources": [{"type": "search", "query": "our village"}, {"type": "signal", "id": "7"}],
    }  # fmt: skip
    lines = [" ".join(line.split()) for line in plan_lines(plan)]
    assert lines[1:4] == ["facts mentions: number, read by a model", "sources search our village", "signal 7"]
    assert "provider claude" in lines
    assert not any("provider" in line for line in plan_lines({**plan, "provider": None}))


def test_what_models_will_cost_says_what_it_is_the_most_of() -> None:
    day: dict[str, Any] = {"calls_a_day_max": 288.0, "cost_micros_a_day_max": 345_600, "cost_micros_a_call": 1200}
    day |= {"is_estimated": True, "notes": [], "basis": "So."}
    most = "cost at most 0.3456 USD a day, if all is new at each look: 288 calls of 0.0012 USD"
    assert of_cost(forecast=day) == [f"{most}, an estimate for texts of typical size"]
    assert of_cost(forecast={**day, "is_estimated": False}) == [f"{most}, as in this trial"]
    [weekly] = of_cost(forecast={**day, "calls_a_day_max": 1 / 7})
    assert ": 0.14 calls of" in weekly
    [signals] = of_cost(forecast={**day, "calls_a_day_max": None, "cost_micros_a_day_max": None})
    assert signals == "cost 0.0012 USD a call, an estimate for texts of typical size; calls come with signals"
    assert of_cost(forecast={**day, "notes": ["Nobody\x1b[31m takes batches."]})[1:] == ["Nobody [31m takes batches."]
    assert of_cost(forecast=None) == []


def test_what_compiling_a_prompt_cost_is_told_beside_it() -> None:
    assert of_cost(compile_cost_micros=12_300) == ["cost 0.0123 USD once: the prompt was compiled by a model"]
    assert of_cost(compile_cost_micros=None) == []


def of_cost(**told: object) -> list[str]:
    return [" ".join(line.split()) for line in cost_lines(told)]


def test_what_an_evaluation_cost_and_saved_is_told_where_there_is_any() -> None:
    nothing: dict[str, Any] = {"id": "1", "status": "failed", "evidence": [], "condition": None}
    failed = {**nothing, "error": {"code": "SOURCE_GONE", "message": "gone"}}
    assert lines_of(failed) == ["failed: SOURCE_GONE: gone"]
    assert lines_of({**failed, "cost_micros": 0, "saved_micros": 0}) == ["failed: SOURCE_GONE: gone"]
    assert lines_of({**failed, "cost_micros": 1200})[-1] == "  cost 0.0012 USD"
    assert lines_of({**failed, "cost_micros": 0, "saved_micros": 10_000})[-1] == "  saved 0.01 USD"


def lines_of(evaluation: dict[str, Any]) -> list[str]:
    return evaluation_lines(evaluation)


@pytest.mark.parametrize(
    ("used", "changes", "line"),
    [
        (True, {}, "sale was read from “Sale!” at https://shop.example/"),
        (
            True,
            {"confidence": 0.9, "reason": "It says\nso."},
            "sale was read from “Sale!” at https://shop.example/, with a confidence of 0.9: It says so.",
        ),
        (
            None,
            {"confidence": 0.4, "reason": "Perhaps."},
            "sale is not used: yes was read with a confidence of 0.4, too little, from “Sale!” at https://shop.example/: Perhaps.",
        ),
        (  # whatever a later plan asks for
            True,
            {"confidence": 0.4, "reason": "Perhaps."},
            "sale was read from “Sale!” at https://shop.example/, with a confidence of 0.4: Perhaps.",
        ),
        (
            None,
            {"confidence": 0.0, "reason": "It says so."},
            "sale is not believed: yes was read, but “Sale!” does not stand at https://shop.example/, or says something else",
        ),
    ],
)
def test_how_certain_a_value_is_and_why_is_told_unless_it_was_selected(
    used: object, changes: dict[str, Any], line: str
) -> None:
    fact = {"name": "sale", "value": True, "quote": "Sale!", "source_url": "https://shop.example/", "confidence": 1.0}
    told = {
        "id": "1", "status": "completed", "verdict": "met", "reason": None, "error": None, "changed": False,
        "state_before": "active", "state_after": "active", "facts": [{**fact, "reason": None, **changes}], "evidence": [],
        "condition": {"expression": "sale", "inputs": {"sale": used, "changed(sale)": False}},
    }  # fmt: skip
    sale = "  sale = yes" if used else "  sale = unknown"
    assert lines_of(told) == ["met: sale", sale, "  changed(sale) = no", f"  {line}", "  state active"]


def test_a_provider_and_a_batch_are_asked_for_only_where_they_are_said() -> None:
    nothing: dict[str, Any] = {"name": None, "every": None, "cron": None, "timezone": None, "condition": None}
    said = Wanted(prompt="p", sources=(), feeds=(), signals=(), facts=(), confirmations=None, **nothing)
    assert said.body() == {"prompt": "p", "sources": []}
    assert replace(said, provider="openai", batch=True).body() == {
        "prompt": "p",
        "sources": [],
        "provider": "openai",
        "batch": True,
    }


def test_a_damaged_file_of_sessions_is_like_none(tmp_path: Path) -> None:
    file = tmp_path / "sessions.json"
    for content in ("", "{", "[]", '{"sessions": 1}'):
        file.write_text(content)
        assert KeptSessions(file).last is None


def test_nothing_that_was_read_steers_the_terminal() -> None:
    hostile = "a\x1b[2Jb\r\nc\u202ed"
    fact = {
        "name": "t",
        "quote": hostile,
        "source_url": hostile,
        "confidence": 0.9,
        "reason": hostile,
        "value": hostile,
    }
    unproved = {**fact, "confidence": 0.0}
    evaluation = {
        "id": "1", "status": "completed", "verdict": "met", "reason": hostile, "error": None, "changed": True,
        "state_before": "inactive", "state_after": "active", "facts": [fact, unproved], "evidence": [],
        "condition": {"expression": hostile, "inputs": {"t": hostile, "n": None, "x": 2.5, "y": 3.0}},
    }  # fmt: skip
    monitor = {"state": "active", "status": "active", "name": hostile, "next_due_at": None, "id": "1", "batch": False}
    lines = [*lines_of(evaluation), *listed_lines([monitor], now=AT)]
    assert all(line.isprintable() for line in lines), lines
    assert {"  n = unknown", "  x = 2.5", "  y = 3"} <= set(lines)
