"""What the README tells newcomers to type works as it stands there: it is taken from the page and typed."""

import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.vigil_process import RunningVigil, data_folder, environment, get

ROOT = Path(__file__).parents[2]
SECONDS_MAX = 60


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def shell_blocks() -> list[str]:
    return re.findall(r"(?s)```sh\n(.*?)```", (ROOT / "README.md").read_text())


@pytest.mark.skipif(shutil.which("curl") is None, reason="the README's lines are for curl")
@pytest.mark.timeout(120)
def test_the_lines_of_the_readme_lead_from_an_empty_installation_to_the_first_mail() -> None:
    starting, using = (block for block in shell_blocks() if "vigil up" in block or "auth/register" in block)
    assert "VIGIL_FETCH_ALLOW_NETWORKS=127.0.0.0/8" in starting
    with data_folder() as folder:
        running = RunningVigil(folder, "up", fetch_allow_networks="127.0.0.0/8")
        addresses = {
            "http://127.0.0.1:8000": running.ready(),
            "http://127.0.0.1:8025": running.inbox(),
            "9000": str(free_port()),
        }
        for usual, here in addresses.items():
            assert usual in using
            using = using.replace(usual, here)
        typed = subprocess.run(
            ["bash", "-c", f"{using}\nkill %1"],
            env=environment(PATH=f"{Path(sys.executable).parent}:/usr/bin:/bin"),
            cwd=folder.parent,
            capture_output=True,
            encoding="utf-8",
            timeout=SECONDS_MAX,
            check=False,
        )
        assert '"verdict":"met"' in typed.stdout, typed
        assert '"error":{' not in typed.stdout
        _, mails = get(f"{running.inbox()}/api/messages")
        assert [mail["subject"] for mail in mails][-1:] == ["Vigil: confirm your address"]
        assert "is now active" in mails[0]["subject"]
        running.ask(signal.SIGINT)
        assert running.exit_code() == 0, running.output
