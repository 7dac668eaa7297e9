"""The installation's secret, and the keys that are derived from it."""

import hmac
import secrets
from contextlib import suppress
from pathlib import Path

from adapters.kept_file import keep_once

_FILE = "secret_key"
_CHARS_MIN = 32
_KEY_BYTES = 32
"""256 bits: what HMAC-SHA256 can use (RFC 7518, 3.2 asks for at least as many as the hash has)."""


class SecretKeyRefused(Exception):
    """The secret is too short to keep anything secret."""


def installation_secret(data_dir: Path, configured: str | None) -> bytes:
    """The secret all other keys are derived from: the configured VIGIL_SECRET_KEY, or when that is None one that is
    made on first use and kept in `data_dir`, readable by its owner only.

    The text of the file, given as VIGIL_SECRET_KEY to other hosts, is the same secret. Raises `SecretKeyRefused` for
    less than 32 characters: a short secret can be found by trying, off line, with any token it signed.
    """
    if configured is not None:
        return _checked(configured, "VIGIL_SECRET_KEY")
    path = data_dir / _FILE
    with suppress(FileNotFoundError):
        return _checked(path.read_text(), str(path))
    keep_once(path, secrets.token_urlsafe(_KEY_BYTES))
    return _checked(path.read_text(), str(path))


def derived_key(secret: bytes, label: str) -> bytes:
    """A key of 32 bytes for one use, named by `label`; from one key neither the secret nor another key can be told.

    It is HKDF with SHA-256, no salt and one block (RFC 5869, 2.2 and 2.3).
    """
    extracted = hmac.digest(bytes(_KEY_BYTES), secret, "sha256")
    return hmac.digest(extracted, label.encode() + b"\x01", "sha256")


def _checked(text: str, where: str) -> bytes:
    secret = text.strip()
    if len(secret) < _CHARS_MIN:
        raise SecretKeyRefused(
            f"{where} has {len(secret)} characters and needs at least {_CHARS_MIN}; make one with"
            " `python -c 'import secrets; print(secrets.token_urlsafe(32))'`"
        )
    return secret.encode()
