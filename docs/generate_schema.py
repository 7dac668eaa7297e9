"""Writes schema.sql from the migrations, newest form of everything in their order: `python docs/generate_schema.py`."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "schema.sql"

HEAD = """-- The whole database of Vigil, as the migrations leave it; tests/store/test_migrations.py proves the two equal.
-- Read it to understand; `vigil migrate up` is what makes it.
"""


def schema() -> str:
    """The file as it should be while every migration only adds. One that changes what an earlier one made is edited in."""
    paths = sorted(path for path in (ROOT / "migrations").glob("*.sql") if ".rollback" not in path.name)
    texts = (
        "\n".join(line for line in path.read_text().splitlines() if not line.startswith("-- depends")) for path in paths
    )
    return "\n".join([HEAD, *(f"{text}\n" for text in texts)])


if __name__ == "__main__":
    TARGET.write_text(schema())
