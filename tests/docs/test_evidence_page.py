"""The verifier on the page about evidence is one: it agrees with ours on every file that was tampered with."""

import io
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from adapters.log_export_format import FIELDS, GENESIS, End, Header, LoggedEvent, written
from adapters.log_signatures import SigningKey
from adapters.postgres_log import link
from domain.log_entry import LogEntry
from tests.conftest import AT

PAGE = (Path(__file__).parents[2] / "docs/evidence.md").read_text()
KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


def example() -> str:
    (code,) = re.findall(r"(?s)```python\n(.*?)```", PAGE)
    return str(code)


def exported(first: int = 1) -> list[bytes]:
    """Three events of which the first and the last are signed."""
    previous = GENESIS if first == 1 else bytes(range(32))
    lines = [written(Header(1, first, first + 2, previous.hex(), KEY.key_id))]
    for position in range(first, first + 3):
        entry = LogEntry(3, position, position, UUID(int=1), 1, UUID(int=2), "t", 1, '{"é": "\\u0000"}', "{}", UUID(int=3), "\x7f\x1f")  # fmt: skip
        previous = link(previous, entry)
        lines.append(written(LoggedEvent(entry, previous)))
        if position != first + 1:
            lines.append(written(KEY.sign_head(position, previous, AT)))
    return [*lines, written(End(3, 2))]


@pytest.fixture(scope="module")
def verify() -> Callable[[io.BytesIO, str], str]:
    names: dict[str, Callable[[io.BytesIO, str], str]] = {}
    exec(compile(example(), "docs/evidence.md", "exec"), names)  # noqa: S102  our own page; what is defined there is called below
    return names["verify"]


def refused(verify: Callable[[io.BytesIO, str], str], content: bytes) -> None:
    with pytest.raises((ValueError, TypeError, KeyError, IndexError, InvalidSignature)):
        verify(io.BytesIO(content), KEY.public.base64)


def test_it_runs_as_a_program_on_an_export(tmp_path: Path) -> None:
    program, file = tmp_path / "verify.py", tmp_path / "log.ndjson"
    program.write_text(example())
    command = [sys.executable, "-I", str(program), str(file), KEY.public.base64]
    file.write_bytes(b"".join(exported()))
    right = subprocess.run(command, capture_output=True, text=True, check=False)
    assert right.stdout == "positions 1 to 3 are as they were signed at 2026-01-01T00:00:00.000000Z\n", right.stderr
    file.write_bytes(b"".join(exported()).replace(b'"t"', b'"u"', 1))
    wrong = subprocess.run(command, capture_output=True, text=True, check=False)
    assert wrong.returncode == 1
    assert "position 1 is not what it was" in wrong.stderr


def test_it_takes_a_part_of_the_log(verify: Callable[[io.BytesIO, str], str]) -> None:
    assert verify(io.BytesIO(b"".join(exported(first=40))), KEY.public.base64).startswith("positions 40 to 42 ")


def test_it_refuses_a_change_of_any_byte(verify: Callable[[io.BytesIO, str], str]) -> None:
    whole = b"".join(exported())
    for place in range(len(whole)):
        for instead in (bytes([whole[place] ^ 1]), b""):
            changed = whole[:place] + instead + whole[place + 1 :]
            refused(verify, changed)


def test_it_refuses_every_line_that_is_removed_doubled_or_moved(verify: Callable[[io.BytesIO, str], str]) -> None:
    lines = exported()
    for index, line in enumerate(lines):
        rest = lines[:index] + lines[index + 1 :]
        refused(verify, b"".join(rest))
        for place in range(len(lines)):
            refused(verify, b"".join([*lines[:place], line, *lines[place:]]))
            if (moved := [*rest[:place], line, *rest[place:]]) != lines:
                refused(verify, b"".join(moved))


def test_the_page_names_the_fields_in_their_order_and_the_label() -> None:
    listed = PAGE.partition("names of an event's fields: ")[2].partition("2. **Events**")[0]
    assert re.findall(r"`([a-z_]+)`", listed) == list(FIELDS)
    assert "vigil signed head v1\n" in PAGE
