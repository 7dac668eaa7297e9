"""Writes docs/errors.md from the catalogue of error codes: `python docs/generate_errors.py`."""

from pathlib import Path

from adapters.api_docs import errors_markdown
from commands.http.error_catalogue import ERROR_CATALOGUE

if __name__ == "__main__":
    Path(__file__).with_name("errors.md").write_text(errors_markdown(ERROR_CATALOGUE), encoding="utf-8")
