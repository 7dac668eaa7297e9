"""The installation's signing key: made once, or derived, and readable by other programs."""

import base64
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from adapters.log_signatures import SigningKeyRefused, installation_signing_key, known_signing_key, read_public_key
from adapters.secret_key import SecretKeyRefused, installation_secret
from domain.errors import InvalidInput
from tests.conftest import AT

DIGEST = bytes(range(32))
SECRET = "a secret for tests that is long enough"


def test_a_key_is_made_once_for_its_owner_alone_and_kept(tmp_path: Path) -> None:
    data_dir = tmp_path / "new"
    assert known_signing_key(data_dir, None) is None
    assert not data_dir.exists()
    key = installation_signing_key(data_dir, None)
    assert installation_signing_key(data_dir, None).key_id == key.key_id
    assert stat.S_IMODE((data_dir / "signing_key").stat().st_mode) == 0o600
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    assert [entry.name for entry in data_dir.iterdir()] == ["signing_key"]
    assert installation_signing_key(tmp_path / "other", None).key_id != key.key_id


def test_hosts_with_the_same_configured_secret_have_the_same_key_and_write_none(tmp_path: Path) -> None:
    one, other = (installation_signing_key(tmp_path / name, SECRET).key_id for name in ("a", "b"))
    assert one == other
    assert list(tmp_path.iterdir()) == []
    assert installation_signing_key(tmp_path, SECRET + "!").key_id != one
    with pytest.raises(SecretKeyRefused):
        installation_signing_key(tmp_path, "short")


def test_a_key_that_is_kept_stays_when_a_secret_is_configured_later(tmp_path: Path) -> None:
    """Else what was signed before could not be continued."""
    installation_secret(tmp_path, None)
    kept = installation_signing_key(tmp_path, None)
    assert installation_signing_key(tmp_path, SECRET).key_id == kept.key_id


@pytest.mark.parametrize("content", ["", "nonsense", "public"])
def test_a_file_with_something_else_is_refused_and_not_replaced(tmp_path: Path, content: str) -> None:
    path = tmp_path / "signing_key"
    path.write_text(installation_signing_key(tmp_path / "other", None).public.pem if content == "public" else content)
    before = path.read_text()
    with pytest.raises(SigningKeyRefused, match="signing_key holds no Ed25519 key"):
        installation_signing_key(tmp_path, None)
    assert path.read_text() == before


def test_the_signed_bytes_are_those_of_the_page(tmp_path: Path) -> None:
    key = installation_signing_key(tmp_path, None)
    head = key.sign_head(7, DIGEST, AT)
    statement = f"vigil signed head v1\n7\n{DIGEST.hex()}\n2026-01-01T00:00:00.000000Z\n{key.key_id}\n"
    raw = base64.b64decode(key.public.base64)
    Ed25519PublicKey.from_public_bytes(raw).verify(head.signature, statement.encode())
    assert key.vouches_for(head)


def test_the_public_key_is_read_from_what_is_printed(tmp_path: Path) -> None:
    public = installation_signing_key(tmp_path, None).public
    assert read_public_key(f" {public.base64}\n").key_id == public.key_id
    assert read_public_key(public.pem).key_id == public.key_id
    assert len(public.base64) == 44


def test_openssl_reads_the_kept_key_and_gives_the_same_public_key(tmp_path: Path) -> None:
    public = installation_signing_key(tmp_path, None).public
    told = subprocess.run(
        ["openssl", "pkey", "-in", tmp_path / "signing_key", "-pubout"], check=True, capture_output=True, text=True
    )
    assert told.stdout == public.pem


@pytest.mark.parametrize("given", ["", "x", "AAAA", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "é"])
def test_what_is_no_public_key_is_refused(given: str) -> None:
    with pytest.raises(InvalidInput, match="not an Ed25519 public key"):
        read_public_key(given)


def test_a_public_key_of_another_kind_is_refused() -> None:
    other = X25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(InvalidInput, match="not an Ed25519 public key"):
        read_public_key(other.decode())
