"""The headers a person may add to the request that reads a source."""

import re
from collections.abc import Mapping

from domain.errors import InvalidInput

HEADERS_MAX = 20
HEADER_CHARS_MAX = 4096

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")  # RFC 9110, section 5.6.2
_VALUE = re.compile(r"[\t\x20-\x7e]*\Z")  # RFC 9110, section 5.5, without obs-text

# The message's framing and routing (RFC 9110 sections 7.2 and 7.6.1, RFC 9112) and what conditional reading needs.
RESERVED = frozenset(
    {
        "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect", "host",
        "http2-settings", "keep-alive", "if-match", "if-modified-since", "if-none-match", "if-range",
        "if-unmodified-since", "max-forwards", "range", "te", "trailer", "transfer-encoding", "upgrade", "via",
    }
)  # fmt: skip
# What may follow a redirect to another origin; anything else a person set may be a secret (RFC 9110, section 15.4).
HARMLESS = frozenset({"accept", "accept-language", "user-agent"})


def check_headers(headers: Mapping[str, str], field: str) -> None:
    """Refuse headers that could break out of the request or speak for Vigil, with `InvalidInput` naming `field`."""
    if len(headers) > HEADERS_MAX:
        raise InvalidInput(f"a source has at most {HEADERS_MAX} headers", field=field)
    for name, value in headers.items():
        if not _TOKEN.match(name):
            raise InvalidInput(f"{name!r} is not the name of a header", field=field)
        if name.lower() in RESERVED or name.lower().startswith("proxy-"):
            raise InvalidInput(f"the header {name} is set by Vigil; leave it out", field=f"{field}.{name}")
        if not _VALUE.match(value):
            raise InvalidInput("a header's value is printable ASCII in one line", field=f"{field}.{name}")
    if sum(len(name) + len(value) for name, value in headers.items()) > HEADER_CHARS_MAX:
        raise InvalidInput(f"all headers together have at most {HEADER_CHARS_MAX} characters", field=field)


def without_secrets(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that may go to another origin than the one they were written for."""
    return {name: value for name, value in headers.items() if name.lower() in HARMLESS}
