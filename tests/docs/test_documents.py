"""Documents that would be wrong without anybody noticing are compared with what they tell of."""

import re
import runpy
import tomllib
from pathlib import Path

from domain.event import event_types
from domain.event_codec import AGGREGATES

ROOT = Path(__file__).parents[2]
MEDIA_TYPES = {"application/json"}
"""Look like paths and are none."""


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[\[><=]", line)[0] for line in project["dependencies"]}
    explained = set(re.findall(r"(?m)^\| ([a-z0-9-]+) \|", (ROOT / "docs/dependencies.md").read_text())) - {"package"}
    assert explained == declared


def test_every_dependency_is_locked_with_hashes_and_no_index_is_named() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = set(re.findall(r"(?m)^([a-z0-9-]+)==", lock))
    declared = {re.split(r"[\[><=]", line)[0] for line in project["dependencies"]}
    declared |= {re.split(r"[\[><=]", line)[0] for line in project["optional-dependencies"]["dev"]}
    assert declared <= locked
    assert "://" not in lock
    assert all("--hash=sha256:" in block for block in re.split(r"(?m)^(?=[a-z])", lock) if block.strip())


def test_the_settings_page_tells_the_settings_there_are() -> None:
    module = runpy.run_path(str(ROOT / "docs/generate_settings.py"))
    assert (ROOT / "docs/settings.md").read_text() == module["settings_page"]()


def test_every_file_the_documents_name_exists() -> None:
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        text = page.read_text()
        for path in re.findall(r"`((?:[a-z_]+/)+[a-z_0-9]*(?:\.[a-z]+)?)`", text):
            assert (ROOT / path).exists() or path in MEDIA_TYPES, f"{page.name} names {path}"
        prose = re.sub(r"(?ms)^```.*?^```", "", text)
        for link in re.findall(r"\]\((?!http)([^)#]+)", prose):
            assert (page.parent / link).exists(), f"{page.name} links {link}"


def test_every_stored_event_is_told_in_the_events_page() -> None:
    assert AGGREGATES
    page = (ROOT / "docs/events.md").read_text()
    assert set(re.findall(r"(?m)^\| `([a-z_.]+)`", page)) == set(event_types())
