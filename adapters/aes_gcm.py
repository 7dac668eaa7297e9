"""AES-256-GCM with random nonces (NIST SP 800-38D): what is sealed for one place opens nowhere else."""

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
NONCE_BYTES, TAG_BYTES = 12, 16
"""Random nonces: 2^32 messages under one key keep a repetition below 2^-32 (SP 800-38D, 8.3)."""


class NotSealedHere(Exception):
    """The bytes do not open with this key at this place: they were changed, or sealed for another."""


class Cipher:
    """One key."""

    def __init__(self, key: bytes) -> None:
        """`key` is 32 bytes; raises `ValueError` for any other length."""
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes")
        self._cipher = AESGCM(key)

    def seal(self, plain: bytes, place: bytes) -> bytes:
        """The nonce, the ciphertext and the tag in a row, with `place` as associated data."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, place)

    def unseal(self, sealed: bytes, place: bytes) -> bytes:
        """What was sealed. Raises `NotSealedHere`."""
        if len(sealed) < NONCE_BYTES + TAG_BYTES:
            raise NotSealedHere
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], place)
        except InvalidTag:
            raise NotSealedHere from None


def new_key() -> bytes:
    """A key nobody else has."""
    return secrets.token_bytes(KEY_BYTES)
