"""`vigil users erase`, `vigil keys` and what other commands show of people, as processes against a real database."""

import base64
import json
import subprocess
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from adapters.aes_gcm import new_key
from adapters.wrapping_keys import WrappingKeys
from tests.cli.vigil_process import vigil

EMAIL = "ada@example.org"


class Host:
    """A machine with a data folder of its own and the settings of an installation."""

    def __init__(self, database: str, data_dir: Path, **settings: str) -> None:
        self.settings = {"database_url": database, "data_dir": str(data_dir), **settings}

    def run(self, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        return vigil(*arguments, given=given, **self.settings)

    def does(self, *arguments: str, given: str = "") -> str:
        done = self.run(*arguments, given=given)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def ada(self) -> UUID:
        made = self.does("users", "create", EMAIL, "--name", "Ada Lovelace", "--json", given="a long sentence\n")
        return UUID(json.loads(made)["id"])


def base64_of(key: bytes) -> str:
    return base64.b64encode(key).decode()


def id_of(key: bytes) -> str:
    return WrappingKeys([key]).first_id


@pytest.fixture
def host(database: str, tmp_path: Path) -> Host:
    return Host(database, tmp_path / "data")


def test_an_operator_erases_a_person_by_address_or_id_and_it_is_recorded(host: Host, database: str) -> None:
    ada = host.ada()
    unasked = host.run("users", "erase", EMAIL, given="y\n")
    assert (unasked.returncode, unasked.stdout, "say --yes" in unasked.stderr) == (2, "", True)
    assert host.does("users", "erase", EMAIL, "--yes") == f"erased {ada}\n"
    assert host.does("users", "erase", str(ada), "--yes") == f"{ada} was erased before\n"
    assert json.loads(host.does("users", "erase", str(ada), "--yes", "--json")) == {"id": str(ada), "erased_now": False}
    gone = host.run("users", "erase", EMAIL, "--yes")
    assert (gone.returncode, gone.stderr) == (1, f"error: {EMAIL} has no account, or was erased before\n")
    nobody = host.run("users", "erase", "01890a5d-ac96-774b-bcce-b302099a8057", "--yes")
    assert (nobody.returncode, "there is no person with the id" in nobody.stderr) == (1, True)
    with psycopg.connect(database) as connection:
        query = "select metadata->>'actor' from event where type = 'user.erased'"
        assert [row[0].partition(":")[0] for row in connection.execute(query).fetchall()] == ["operator"]
    assert host.ada() != ada


def test_what_a_person_said_is_shown_only_when_it_is_opened(host: Host) -> None:
    ada = str(host.ada())
    shown = host.does("events", "show", "--stream", ada)
    assert "(sealed)" in shown
    assert "Lovelace" not in shown + host.does("events", "show", "--stream", ada, "--json")
    opened = host.does("events", "show", "--stream", ada, "--open")
    assert "Ada Lovelace" in opened
    assert EMAIL in opened
    assert "Lovelace" in host.does("events", "show", "--stream", ada, "--open", "--json")
    host.does("users", "erase", EMAIL, "--yes")
    assert "Lovelace" not in host.does("events", "show", "--stream", ada, "--open")


def test_keys_are_rotated_on_a_running_installation_and_the_old_one_is_not_needed_any_more(
    database: str, tmp_path: Path
) -> None:
    old, new = new_key(), new_key()
    before = Host(database, tmp_path / "a", wrapping_keys=base64_of(old))
    ada = before.ada()
    both = Host(database, tmp_path / "b", wrapping_keys=f"{base64_of(new)},{base64_of(old)}")
    assert "yes, wraps" in both.does("keys", "status")
    assert json.loads(both.does("keys", "rotate", "--json")) == {"keys": 2, "wrapping_key_id": id_of(new)}
    assert both.does("keys", "rotate").startswith("0 keys")
    after = Host(database, tmp_path / "c", wrapping_keys=base64_of(new))
    assert json.loads(after.does("keys", "status", "--json")) == {
        "wrapped_by": {id_of(new): 2},
        "destroyed": 0,
        "first": id_of(new),
        "missing": [],
    }
    assert "Lovelace" in after.does("events", "show", "--stream", str(ada), "--open")
    with psycopg.connect(database) as connection:
        recorded = connection.execute("select data from event where type = 'operation.keys_rotated'").fetchall()
    assert [(data["keys"], data["wrapping_key_id"]) for (data,) in recorded] == [(2, id_of(new))]
    refused = before.run("users", "grant", EMAIL, "operator")
    assert refused.returncode == 1
    assert f"keys of people are wrapped by {id_of(new)}, which this host does not have" in refused.stderr


def test_a_host_without_the_wrapping_key_does_not_start_and_takes_nobody_for_erased(
    host: Host, database: str, tmp_path: Path
) -> None:
    host.ada()
    stranger = Host(database, tmp_path / "elsewhere", redis_url="redis://127.0.0.1:1", http_port="0")
    for command in (("api",), ("worker", "notifier"), ("users", "create", "b@example.org", "--name", "B")):
        refused = stranger.run(*command, given="a long sentence\n")
        assert refused.returncode == 1, command
        assert "Nobody is erased by this" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
    status = stranger.run("keys", "status")
    assert (status.returncode, "no wrapping key is here: VIGIL_WRAPPING_KEYS and" in status.stdout) == (1, True)
    findings = json.loads(stranger.run("doctor", "--json").stdout)
    assert [each["level"] for each in findings if each["check"] == "wrapping keys"] == ["failed"]
    assert [
        each["level"] for each in json.loads(host.run("doctor", "--json").stdout) if each["check"] == "wrapping keys"
    ] == ["ok"]
    assert not (tmp_path / "elsewhere" / "wrapping_key").exists()


def test_a_host_that_was_asked_about_its_keys_goes_on_with_the_secret_it_is_given_later(
    database: str, tmp_path: Path
) -> None:
    secret = "a secret for tests that is long enough"
    configured, forgotten = Host(database, tmp_path / "a", secret_key=secret), Host(database, tmp_path / "b")
    fresh = forgotten.does("keys", "status")
    assert "no wrapping key is here" in fresh
    assert [
        each["message"] for each in json.loads(forgotten.run("doctor", "--json").stdout) if "wrapping" in each["check"]
    ] == ["none is here; one is made at the first start"]
    ada = configured.ada()
    for command in (("keys", "status"), ("doctor",), ("events", "show", "--stream", str(ada), "--open")):
        assert forgotten.run(*command).returncode == 1
    mended = Host(database, tmp_path / "b", secret_key=secret)
    assert "Ada Lovelace" in mended.does("events", "show", "--stream", str(ada), "--open")


def test_a_wrapping_key_that_is_none_is_told_and_not_repeated(host: Host) -> None:
    wrong = Host(host.settings["database_url"], Path("x"), wrapping_keys="c2VjcmV0")
    refused = wrong.run("keys", "status")
    assert refused.returncode == 1
    assert "VIGIL_WRAPPING_KEYS: a wrapping key is 32 random bytes in base64" in refused.stderr
    assert "c2VjcmV0" not in refused.stderr
