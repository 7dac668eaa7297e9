"""The installation's Ed25519 key pair (RFC 8032), and the signatures of the log's head made with it."""

import base64
import binascii
import hashlib
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from adapters.kept_file import keep_once
from adapters.secret_key import SecretKeyRefused, derived_key, installation_secret
from domain.errors import InvalidInput
from domain.signed_head import SignedHead, head_statement, moment

KEY_FILE = "signing_key"
_PURPOSE = "vigil log signing key"


class SigningKeyRefused(SecretKeyRefused):
    """The file of the signing key holds something else."""


class PublicKey:
    """What an outsider checks signatures with."""

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key
        self._raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.key_id = hashlib.sha256(self._raw).hexdigest()

    @property
    def base64(self) -> str:
        """The key's 32 bytes, as 44 characters."""
        return base64.b64encode(self._raw).decode()

    @property
    def pem(self) -> str:
        """The key as other programs read it (RFC 8410)."""
        return self._key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def vouches_for(self, head: SignedHead) -> bool:
        """Whether the head's signature is this key's."""
        if head.key_id != self.key_id:
            return False
        try:
            self._key.verify(head.signature, head_statement(head.position, head.hash, head.signed_at, head.key_id))
        except InvalidSignature:
            return False
        return True


class PublicKeys:
    """The keys somebody trusts, by id: more than one when the installation changed its key."""

    def __init__(self, keys: Iterable[PublicKey]) -> None:
        self._keys = {key.key_id: key for key in keys}

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key_id: object) -> bool:
        return key_id in self._keys

    def vouch_for(self, head: SignedHead) -> bool:
        """Whether one of them signed the head."""
        key = self._keys.get(head.key_id)
        return key is not None and key.vouches_for(head)


class SigningKey:
    """What the installation signs with."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = PublicKey(key.public_key())

    @property
    def key_id(self) -> str:
        """The sha256 of the public key, in hexadecimal."""
        return self.public.key_id

    def sign_head(self, position: int, digest: bytes, at: datetime) -> SignedHead:
        """Say that the log's hash at `position` was `digest` (32 bytes), at a moment with a time zone."""
        signed_at = moment(at)
        signature = self._key.sign(head_statement(position, digest, signed_at, self.key_id))
        return SignedHead(position, digest, signed_at, self.key_id, signature)

    def vouches_for(self, head: SignedHead) -> bool:
        """Whether the head's signature is this key's."""
        return self.public.vouches_for(head)


def installation_signing_key(data_dir: Path, configured_secret: str | None) -> SigningKey:
    """The installation's key: that in the file `signing_key` of `data_dir` (PKCS #8, PEM); else, with a configured
    VIGIL_SECRET_KEY, the one derived from it, which all hosts share; else one that is made now and kept in that file,
    readable by its owner only. Raises `SigningKeyRefused`, `SecretKeyRefused`."""
    known = known_signing_key(data_dir, configured_secret)
    if known is not None:
        return known
    made = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    keep_once(data_dir / KEY_FILE, made.decode().rstrip())
    return _read(data_dir / KEY_FILE)


def known_signing_key(data_dir: Path, configured_secret: str | None) -> SigningKey | None:
    """The same, None where one would have to be made: for those who must not sign with a key nobody knows."""
    with suppress(FileNotFoundError):
        return _read(data_dir / KEY_FILE)
    if configured_secret is None:
        return None
    seed = derived_key(installation_secret(data_dir, configured_secret), _PURPOSE)
    return SigningKey(Ed25519PrivateKey.from_private_bytes(seed))


def read_public_key(text: str) -> PublicKey:
    """The key in PEM, or in base64 of its 32 bytes. Raises `InvalidInput`."""
    try:
        if text.lstrip().startswith("-----BEGIN PUBLIC KEY"):
            key = load_pem_public_key(text.strip().encode())
        else:
            key = Ed25519PublicKey.from_public_bytes(base64.b64decode(text.strip(), validate=True))
    except (ValueError, UnsupportedAlgorithm, binascii.Error):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidInput("this is not an Ed25519 public key; give its PEM, or its 32 bytes in base64")
    return PublicKey(key)


def _read(path: Path) -> SigningKey:
    content = path.read_bytes()
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningKeyRefused(f"{path} holds no Ed25519 key in PEM; put the one back that was there")
    return SigningKey(key)
