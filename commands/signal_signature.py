"""The signatures of Standard Webhooks (https://www.standardwebhooks.com, specification 1.0.0): HMAC-SHA-256 over
`<webhook-id>.<webhook-timestamp>.<body>`, the bytes as they came."""

import base64
import binascii
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

import msgspec

from commands.http.bearer import header
from domain.errors import RuleViolation

TOLERANCE = timedelta(minutes=5)
"""As the specification's own libraries have it."""
SECRET_PREFIX = "whsec_"  # noqa: S105  what stands before a secret
SECRET_BYTES = 32
"""The specification asks for 24 to 64 random bytes."""
ID_CHARS_MAX = 255
SIGNATURES_MAX = 10
"""Of one message: its sender may sign with several secrets while they rotate theirs."""

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
_SECONDS = re.compile(r"[0-9]{1,12}", re.ASCII)


HOW_TO_SIGN = (
    "no secret of a signal source at this address made this signature: sign <webhook-id>.<webhook-timestamp>.<body>, the body"
    " byte for byte as it is sent, with HMAC-SHA-256 under the base64-decoded part of the secret after whsec_, and send v1,"
    " and the base64 of that"
)


class SignatureRefused(RuleViolation):
    """The signature is not good; see details."""

    code = "SIGNATURE_INVALID"

    def __init__(self, why: str = HOW_TO_SIGN, *, field: str = SIGNATURE) -> None:
        self.why = why
        super().__init__(field=field)


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """What a sender says of a message: its id, when it was sent, and signatures as they came."""

    webhook_id: str
    timestamp: str
    signatures: tuple[str, ...]

    @property
    def sent_at(self) -> datetime:
        """The timestamp as a time."""
        return datetime.fromtimestamp(int(self.timestamp), UTC)

    def is_by(self, keys: Iterable[bytes], body: bytes) -> bool:
        """Whether one of the keys signed it. How long that takes tells nothing of a signature (`hmac.compare_digest`)."""
        message = f"{self.webhook_id}.{self.timestamp}.".encode() + body
        made = [_signature(key, message) for key in keys]
        return any(hmac.compare_digest(mine, theirs.encode()) for mine in made for theirs in self.signatures)


def read_signed(headers: Mapping[str, str], *, now: datetime) -> Signed:
    """The three headers. Raises `SignatureRefused` naming the one that is missing, malformed, or too far from `now`."""
    found = {name: header(headers, name) for name in (ID, TIMESTAMP, SIGNATURE)}
    for name, value in found.items():
        if value is None:
            raise SignatureRefused(f"send the header {name} (Standard Webhooks)", field=name)
    webhook_id, timestamp, signatures = (str(value) for value in found.values())
    if len(webhook_id) > ID_CHARS_MAX or not webhook_id.isascii() or not webhook_id.isprintable():
        raise SignatureRefused(f"an id is 1 to {ID_CHARS_MAX} printable ASCII characters", field=ID)
    if not _SECONDS.fullmatch(timestamp):
        raise SignatureRefused("the time is whole seconds since 1970-01-01 UTC, in digits", field=TIMESTAMP)
    signed = Signed(webhook_id=webhook_id, timestamp=timestamp, signatures=tuple(signatures.split()))
    if abs(int(timestamp) - now.timestamp()) > TOLERANCE.total_seconds():
        raise SignatureRefused(
            f"the time is more than {TOLERANCE.seconds} seconds from this server's, which is {int(now.timestamp())}; sign"
            " each attempt anew, and set the clock by NTP",
            field=TIMESTAMP,
        )
    if len(signed.signatures) > SIGNATURES_MAX or not any(each.startswith("v1,") for each in signed.signatures):
        raise SignatureRefused(
            f"send v1,<base64>, at most {SIGNATURES_MAX} of them with spaces between", field=SIGNATURE
        )
    return signed


def new_secret() -> str:
    """A secret as senders are given it: `whsec_` and the base64 of its key."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def key_of(secret: str) -> bytes:
    """The key in a secret."""
    return base64.b64decode(secret.removeprefix(SECRET_PREFIX))


def _signature(key: bytes, message: bytes) -> bytes:
    return b"v1," + binascii.b2a_base64(hmac.digest(key, message, "sha256"), newline=False)
