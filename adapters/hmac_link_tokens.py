"""Tokens in mailed links: ids and a keyed hash over them, so that nothing secret is stored."""

import binascii
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from uuid import UUID

from adapters.secret_key import derived_key
from commands.identity_ports import LinkInvalid

_ID_BYTES = 16
_HASH_BYTES = 32
_TOKEN_CHARS = 86
"""Two ids and a hash, 64 bytes, in base64url without padding (RFC 4648, 5)."""


class HmacLinkTokens:
    """Fulfils the port `commands.identity_ports.LinkTokens`.

    `secrets` are installation secrets: the first makes tokens, all read them. A token that was changed anywhere, or made
    for another purpose, is refused. Whether it was used, replaced or has expired is the user's stream to say.
    """

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._keys = [derived_key(secret, "vigil link token") for secret in secrets]

    def make(self, purpose: str, user_id: UUID, token_id: UUID) -> str:
        """The token, 86 characters that need no quoting in a URL; the same every time."""
        ids = user_id.bytes + token_id.bytes
        return _encode(ids + _hash(self._keys[0], purpose, ids))

    def read(self, purpose: str, token: str) -> tuple[UUID, UUID]:
        """The user's and the token's id; raises `LinkInvalid`."""
        if len(token) != _TOKEN_CHARS or not token.isascii():
            raise LinkInvalid
        try:
            content = urlsafe_b64decode(f"{token}==")
        except binascii.Error:
            raise LinkInvalid from None
        # The decoder skips foreign characters and ignores the last bits; one token has one spelling.
        if _encode(content) != token:
            raise LinkInvalid
        ids, given = content[:-_HASH_BYTES], content[-_HASH_BYTES:]
        fits = [hmac.compare_digest(given, _hash(key, purpose, ids)) for key in self._keys]
        if not any(fits):
            raise LinkInvalid
        return UUID(bytes=ids[:_ID_BYTES]), UUID(bytes=ids[_ID_BYTES:])


def _hash(key: bytes, purpose: str, ids: bytes) -> bytes:
    """The ids have a fixed length, so no purpose with other ids gives the same message."""
    return hmac.digest(key, purpose.encode() + ids, "sha256")


def _encode(content: bytes) -> str:
    return urlsafe_b64encode(content).decode().rstrip("=")
