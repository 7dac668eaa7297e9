"""`vigil up --demo` from nothing to a mail about a change, and again from what was kept."""

import signal
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import BaseRequestHandler, TCPServer
from typing import Any

from tests.cli.vigil_process import RunningVigil, data_folder, get, working_in

MAIL_SECONDS = 40


def wait_for_mail(inbox: str, subject: str) -> dict[str, Any]:
    deadline = time.monotonic() + MAIL_SECONDS
    while time.monotonic() < deadline:
        mails: list[dict[str, Any]] = get(f"{inbox}/api/messages")[1]
        for mail in mails:
            if subject in mail["subject"]:
                return mail
        time.sleep(0.1)
    raise AssertionError(f"no mail about {subject!r}")


class PortTaker(TCPServer):
    """Takes connections and ends them."""

    allow_reuse_address = True


@contextmanager
def somebody_at(port: int) -> Iterator[None]:
    with PortTaker(("127.0.0.1", port), BaseRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield
        server.shutdown()
        thread.join()


def test_the_demo_mails_about_a_change_and_goes_on_after_a_restart() -> None:
    """One test for the whole story, because it takes seconds to begin."""
    with data_folder() as data_dir:
        demo = RunningVigil(data_dir, "up", "--demo", smtp_url="smtp://127.0.0.1:1")
        demo.ready()
        inbox = demo.inbox()
        assert wait_for_mail(inbox, "is now active")["to"] == ["demo@vigil.example"]
        told = demo.wait_for("read it at ")
        assert told.startswith(f"{inbox}/messages/")
        assert demo.wait_for("inactive → active") == ""
        for monitor in ("Frost in Seattle", "Snow in Seattle", "AAPL above 30"):
            assert f"created the monitor '{monitor}'" in demo.output
        site = demo.wait_for("the site ").split()[0]
        assert stat.S_IMODE((data_dir / "demo.json").stat().st_mode) == 0o600
        demo.ask(signal.SIGINT)
        assert demo.exit_code() == 0
        assert "Traceback" not in demo.output
        assert working_in(data_dir) == []

        with somebody_at(int(site.rpartition(":")[2])):
            again = RunningVigil(data_dir, "up", "--demo")
            again.wait_for("logged in again")
            again.wait_for("moved the monitor 'AAPL above 30'")
            assert again.wait_for("the site ").split()[0] != site
            again.wait_for("looked      AAPL above 30")
            assert "…" not in again.wait_for("looked      Frost in Seattle")
            again.ask(signal.SIGTERM)
            assert again.exit_code() == 0
        assert working_in(data_dir) == []
