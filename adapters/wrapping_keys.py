"""The keys that wrap the keys of people: configured, or the installation's own."""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from adapters.aes_gcm import KEY_BYTES, Cipher, NotSealedHere, new_key
from adapters.kept_file import keep_once
from adapters.secret_key import SecretKeyRefused, derived_key, installation_secret

KEY_FILE = "wrapping_key"
KEY_ID_DIGITS = 16
_PURPOSE = "vigil wrapping key"


class WrappingKeyRefused(SecretKeyRefused):
    """The file of the wrapping key holds something else."""


class WrappingKeyMissing(Exception):
    """Keys of people are wrapped by a key that is not configured."""

    def __init__(self, key_ids: Sequence[str]) -> None:
        super().__init__(
            f"keys of people are wrapped by {', '.join(sorted(key_ids))}, which this host does not have; add it to"
            " VIGIL_WRAPPING_KEYS (docs/personal-data.md). Nobody is erased by this"
        )


class WrappedKeyBroken(Exception):
    """A person's wrapped key is not what was wrapped."""

    def __init__(self, owner_id: UUID) -> None:
        super().__init__(f"the key of the person {owner_id} in the table person_key was changed; restore that row")


class WrappingKeys:
    """What keys of people are wrapped with: the first key wraps, all unwrap.

    The person's id is associated data, so that the key of one person never passes for another's.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        """`keys` are 32 bytes each; raises `ValueError` for other lengths and for none."""
        if not keys:
            raise ValueError("there is at least one wrapping key")
        self._keys = {_key_id(key): Cipher(key) for key in keys}
        self.first_id = _key_id(keys[0])

    @property
    def ids(self) -> list[str]:
        """The ids of all keys, the one that wraps first."""
        return list(self._keys)

    def wrap(self, owner_id: UUID, key: bytes) -> bytes:
        """A person's key, wrapped by the first."""
        return self._keys[self.first_id].seal(key, _of_person(owner_id))

    def unwrap(self, owner_id: UUID, wrapped: bytes, wrapping_key_id: str) -> bytes:
        """A person's key. Raises `WrappingKeyMissing`, and `WrappedKeyBroken` when it is not what was wrapped."""
        key = self._keys.get(wrapping_key_id)
        if key is None:
            raise WrappingKeyMissing([wrapping_key_id])
        try:
            return key.unseal(wrapped, _of_person(owner_id))
        except NotSealedHere:
            raise WrappedKeyBroken(owner_id) from None


def installation_wrapping_keys(
    data_dir: Path, configured_secret: str | None, configured: Sequence[str] = ()
) -> WrappingKeys:
    """The configured keys (base64 of 32 bytes each), the first of which wraps, and after them the installation's own:
    that in the file `wrapping_key` of `data_dir`, else the one derived from a configured VIGIL_SECRET_KEY, which all hosts
    share. Where there is none of them, one is made and kept in that file, readable by its owner only.

    Raises `WrappingKeyRefused`, `SecretKeyRefused`.
    """
    known = known_wrapping_keys(data_dir, configured_secret, configured)
    if known is not None:
        return known
    path = data_dir / KEY_FILE
    keep_once(path, base64.b64encode(new_key()).decode())
    return WrappingKeys([_read(path)])


def known_wrapping_keys(
    data_dir: Path, configured_secret: str | None, configured: Sequence[str] = ()
) -> WrappingKeys | None:
    """The same, None where one would have to be made: for those who only look."""
    keys = [read_key(key) for key in configured]
    with suppress(FileNotFoundError):
        return WrappingKeys([*keys, _read(data_dir / KEY_FILE)])
    if configured_secret is not None:
        keys.append(derived_key(installation_secret(data_dir, configured_secret), _PURPOSE))
    return WrappingKeys(keys) if keys else None


def read_key(text: str) -> bytes:
    """A key from base64. Raises `ValueError` for anything that is not 32 bytes, and does not repeat it."""
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(
            f"a wrapping key is {KEY_BYTES} random bytes in base64; make one with"
            " `python -c 'import base64, secrets; print(base64.b64encode(secrets.token_bytes(32)).decode())'`"
        )
    return key


def _read(path: Path) -> bytes:
    try:
        return read_key(path.read_text())
    except ValueError:
        raise WrappingKeyRefused(f"{path} holds no key; put the one back that was there") from None


def _key_id(key: bytes) -> str:
    """How a wrapping key is called: the first digits of its SHA-256, which tell nothing of it."""
    return hashlib.sha256(key).hexdigest()[:KEY_ID_DIGITS]


def _of_person(owner_id: UUID) -> bytes:
    return b"vigil person key\0" + owner_id.bytes
