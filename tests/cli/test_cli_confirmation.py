"""What cannot be undone is asked for once more, the same way everywhere, and never in between what programs read."""

import json
import os
import subprocess
from pathlib import Path

import psycopg
import pytest

from tests.cli.vigil_process import COMMAND, SECONDS_MAX, environment, prefixed, vigil

NEEDS_REPAIR = "update log_head set cluster = 0"


def asked_on_a_terminal(
    folder: Path, *arguments: str, answer: bytes, database: str
) -> subprocess.CompletedProcess[str]:
    """Run a command whose standard input is a terminal on which somebody types `answer`."""
    ours, theirs = os.openpty()
    try:
        os.write(ours, answer)
        return subprocess.run(
            [*COMMAND, *arguments],
            env=environment(**prefixed({"database_url": database, "data_dir": str(folder / "data")})),
            cwd=folder,
            stdin=theirs,
            capture_output=True,
            encoding="utf-8",
            timeout=SECONDS_MAX,
            check=False,
        )
    finally:
        os.close(theirs)
        os.close(ours)


def make_needy(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(NEEDS_REPAIR)


def test_the_question_does_not_stand_in_the_answer_for_programs(database: str, tmp_path: Path) -> None:
    make_needy(database)
    done = asked_on_a_terminal(tmp_path, "store", "repair", "--json", answer=b"y\n", database=database)
    assert (done.returncode, json.loads(done.stdout)["repaired"]) == (0, True)
    assert done.stderr.startswith("The store was restored into another cluster, or lost events. Is there a backup")


@pytest.mark.parametrize(
    ("answer", "between"), [(b"n\n", ""), (b"\n", ""), (b"\x04", "\n")], ids=["no", "nothing", "end of input"]
)
def test_who_does_not_say_yes_is_told_that_nothing_was_done(
    database: str, tmp_path: Path, answer: bytes, between: str
) -> None:
    make_needy(database)
    for words, last in (
        (("store", "repair", "--json"), "shall it be repaired?"),
        (("migrate", "down", "--steps", "1"), "delete everything they hold?"),
    ):
        refused = asked_on_a_terminal(tmp_path, *words, answer=answer, database=database)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr.endswith(f"{last} [y/N]: {between}error: nothing was done\n")


def test_where_nobody_can_be_asked_the_option_is_named(database: str) -> None:
    make_needy(database)
    for words in (("store", "repair"), ("migrate", "down"), ("users", "erase", "01890a5d-ac96-774b-bcce-b302099a8057")):
        refused = vigil(*words, given="y\n", database_url=database)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert refused.stderr.startswith("error: nobody is there to be asked; say --yes if it shall be done: ")
        assert len(refused.stderr.splitlines()) == 1
