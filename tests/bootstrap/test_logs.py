"""Addresses are masked in everything that is logged."""

import subprocess
import sys

import pytest

from bootstrap.logs import mask_addresses

SPEAKING = """
import logging, structlog, sys
from bootstrap.logs import configure_logs
from bootstrap.settings import read_settings
configure_logs(read_settings(log_format=sys.argv[1], log_level="debug"))
log = structlog.get_logger()
log.info("told ada.lovelace@example.org", to="<ada.lovelace@example.org>")
log.info("sensitive_read", asked={"actor": "ada.lovelace@example.org", "each": ["ada.lovelace@example.org"]})
try:
    raise ValueError("550 <ada.lovelace@example.org>: no such user")
except ValueError:
    log.exception("not delivered")
    logging.getLogger("other").exception("to ada.lovelace@example.org")
"""


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("ada@example.org", "a***@e***"),
        ("550 5.1.1 <Ada.L+x@sub.example.org>: unknown", "550 5.1.1 <A***@s***>: unknown"),
        ('Key (lower(email))=(ada@example.org) exists, "bo@münchen.example"', 'Key (lower(email))=(a***@e***) exists, "b***@m***"'),
        ("nothing here @ all, 3@4", "nothing here @ all, 3@4"),
    ],
)  # fmt: skip
def test_an_address_shows_its_two_first_letters_only(text: str, masked: str) -> None:
    assert mask_addresses(text) == masked


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_no_line_and_no_traceback_has_an_address(log_format: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SPEAKING, log_format], capture_output=True, encoding="utf-8", check=True
    )
    assert "example" not in done.stderr
    assert "lovelace" not in done.stderr.lower()
    assert done.stderr.count("a***@e***") >= 7
