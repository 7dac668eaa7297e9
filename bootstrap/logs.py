"""How Vigil writes its own log: structured, one event a line, to standard error."""

import io
import logging
import re
import sys
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any, TextIO

import structlog

from bootstrap.settings import Settings

# Takes a word whole, whether or not it turns out to be an address, and gives nothing of it back: every character is looked
# at once, however long the word. Whoever asks for a path chooses it.
_WORD = re.compile(r"([^\s@<>\"'(),:;=\[\]{}/\\])[^\s@<>\"'(),:;=\[\]{}/\\]*+(?:@([^\W\d_])[\w.-]*)?")
VALUE_CHARS_MAX = 2000
"""No value of a line is longer, but for tracebacks."""


def configure_logs(settings: Settings) -> None:
    """Set up structlog and the standard library's logging to write alike."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    # Tracebacks without local variables: those hold tokens and what people said.
    renderer = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_masked_traceback)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([structlog.processors.format_exc_info] if settings.log_format == "json" else []),
            _mask_values,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,  # a logger that was used before belongs to the configuration of now
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_MaskingFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[handler])


def mask_addresses(text: str) -> str:
    """E-mail addresses as `a***@d***`: enough to see that two lines may be about one person, too little to write to them."""
    return _WORD.sub(_masked_word, text)


def _masked_word(found: re.Match[str]) -> str:
    return found[0] if found[2] is None else f"{found[1]}***@{found[2]}***"


def _mask_values(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    # A traceback ends with what matters.
    return {name: _masked(value, None if name == "exception" else VALUE_CHARS_MAX) for name, value in event.items()}


def _masked(value: Any, chars_max: int | None) -> Any:  # noqa: ANN401  whatever is logged
    match value:
        case str():
            return mask_addresses(value)[:chars_max]  # cut before it is masked, half an address would be left
        case dict():
            return {key: _masked(each, chars_max) for key, each in value.items()}
        case list() | tuple():
            return [_masked(each, chars_max) for each in value]
        case _:
            return value


def _masked_traceback(stream: TextIO, error: tuple[type[BaseException], BaseException, TracebackType | None]) -> None:
    whole = io.StringIO()
    structlog.dev.plain_traceback(whole, error)
    stream.write(mask_addresses(whole.getvalue()))


class _MaskingFormatter(logging.Formatter):
    """Formats as the standard library does, with addresses masked."""

    def format(self, record: logging.LogRecord) -> str:
        """One record."""
        return mask_addresses(super().format(record))
