"""Addresses are masked in everything that is logged."""

import json
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.logs import VALUE_CHARS_MAX, mask_addresses

CHARS = 1_000_000
PLAIN = re.compile(r"([^\s@<>\"'(),:;=\[\]{}/\\])[^\s@<>\"'(),:;=\[\]{}/\\]*@([^\W\d_])[\w.-]*")
"""What an address is, said so that looking for it in a long word takes the square of its length."""

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


@given(text=st.text(alphabet="aé1_.+-@ </"))
def test_whatever_surrounds_an_address_it_is_masked(text: str) -> None:
    assert mask_addresses(text) == PLAIN.sub(r"\1***@\2***", text)


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("a" * CHARS, "a" * CHARS),
        ("/audit/streams/" + "é+" * CHARS, "/audit/streams/" + "é+" * CHARS),
        ("a" * CHARS + "@" * CHARS, "a" * CHARS + "@" * CHARS),
        ("a@1" * CHARS, "a@1" * CHARS),
        ("a" * CHARS + "@" + "b" * CHARS, "a***@b***"),
    ],
    ids=["a word", "a path", "no host", "many numbers", "an address"],
)
def test_a_text_that_somebody_made_long_holds_nobody_up(text: str, masked: str) -> None:
    assert mask_addresses(text) == masked


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_long_value_is_cut_after_its_addresses_were_masked(log_format: str) -> None:
    speaking = (
        "import structlog, sys; from bootstrap.logs import configure_logs; from bootstrap.settings import read_settings;"
        "configure_logs(read_settings(log_format=sys.argv[1]));"
        "structlog.get_logger().warning('authz_fail', resource='/x' * 990 + ' ada.lovelace@example.org' * 9000)"
    )
    done = subprocess.run(
        [sys.executable, "-c", speaking, log_format], capture_output=True, encoding="utf-8", check=True
    )
    assert "lovelace" not in done.stderr
    assert "a***@e***" in done.stderr
    assert len(done.stderr) < VALUE_CHARS_MAX + 200
    if log_format == "json":
        assert len(json.loads(done.stderr)["resource"]) == VALUE_CHARS_MAX


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_long_traceback_is_told_to_its_end(log_format: str) -> None:
    speaking = (
        "import structlog, sys; from bootstrap.logs import configure_logs; from bootstrap.settings import read_settings;"
        "configure_logs(read_settings(log_format=sys.argv[1]));"
        "structlog.get_logger().error('unhandled', exc_info=ValueError('word ' * 9000 + 'the end'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", speaking, log_format], capture_output=True, encoding="utf-8", check=True
    )
    assert "the end" in done.stderr


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_no_line_and_no_traceback_has_an_address(log_format: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SPEAKING, log_format], capture_output=True, encoding="utf-8", check=True
    )
    assert "example" not in done.stderr
    assert "lovelace" not in done.stderr.lower()
    assert done.stderr.count("a***@e***") >= 7
