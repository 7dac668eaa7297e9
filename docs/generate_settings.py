"""Writes docs/settings.md from the settings themselves: `python docs/generate_settings.py`."""

from pathlib import Path

from bootstrap.ai_settings import shown
from bootstrap.settings import Settings

TARGET = Path(__file__).with_name("settings.md")

HEAD = """# Settings

Read from the environment, then from `vigil.toml` in the working folder (the same names without the prefix, in lower
case). All mistakes are told at once at the start. Lists are written with commas.

| setting | default | meaning |
|---|---|---|
"""


def settings_page() -> str:
    """The page as it should be."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = field.default
        value = "" if default is None else ",".join(default) if isinstance(default, tuple) else str(default)
        rows.append(f"| `{shown(name)}` | {f'`{value}`' if value else 'unset'} | {field.description} |")
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    TARGET.write_text(settings_page())
