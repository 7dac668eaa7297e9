"""Access tokens: what is issued, and a table of attacks that are all refused (RFC 8725, SECURITY rows 16-20)."""

import hashlib
import hmac
import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from adapters.hmac_link_tokens import HmacLinkTokens
from adapters.jwt_tokens import JwtAccessTokens
from adapters.secret_key import derived_key
from commands.caller import Principal, TokenInvalid
from commands.identity_ports import LinkInvalid

OLD, NEW = b"old installation secret of 32 chars", b"new installation secret of 32 chars"
KEY = derived_key(OLD, "vigil access token")
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECONDS = int(NOW.timestamp())
USER = UUID(int=7)
PUBLIC_KEY = """-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDSio2H2rWLAOOzw5xPGaXRFcMW
Ih1uDLE1lOIJVCv7kEBakTZk7/tUjWT1mFqNfKaUsAYIReXI5MWsbedDIe3MgthJ
JwqT8Z7t6v5X55kx16kTvOTXFDQJ/v3artxgm2cWhmlyECXtCSkU2Ynka3pD2KGn
Y2LvTWdw5v08QzkqZQIDAQAB
-----END PUBLIC KEY-----
"""


def tokens_of(
    *installation_secrets: bytes,
    at: datetime = NOW,
    issuer: str = "http://127.0.0.1:8000",
    audience: str = "vigil-api",
) -> JwtAccessTokens:
    accepted = installation_secrets or (OLD,)
    return JwtAccessTokens(accepted, issuer=issuer, audience=audience, now=lambda: at, new_id=uuid7)


def issued(by: JwtAccessTokens | None = None) -> str:
    return (by or tokens_of()).issue(USER, frozenset({"member"}), now=NOW)[0]


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    header, payload, _ = (
        json.loads(urlsafe_b64decode(part + "==")) if i < 2 else {} for i, part in enumerate(token.split("."))
    )
    return header, payload


def signed(header: dict[str, Any], payload: Any, key: bytes = KEY, digest: str = "sha256") -> str:  # noqa: ANN401  any JSON
    """A token as anybody who has `key` could make it."""
    text = f"{encoded(json.dumps(header).encode())}.{encoded(json.dumps(payload).encode())}"
    return f"{text}.{encoded(hmac.digest(key, text.encode(), digest))}"


def encoded(content: bytes) -> str:
    return urlsafe_b64encode(content).decode().rstrip("=")


HEADER, PAYLOAD = parts(issued())


def test_the_forger_of_this_file_makes_good_tokens_when_nothing_is_wrong() -> None:
    """Otherwise the tables below would prove nothing."""
    member = Principal(user_id=USER, roles=frozenset({"member"}), expires_at=NOW + timedelta(seconds=900))
    assert tokens_of().read(signed(HEADER, PAYLOAD)) == member


def test_a_token_says_who_with_which_roles_for_fifteen_minutes() -> None:
    tokens = tokens_of()
    roles = frozenset({"member", "auditor"})
    token, lives = tokens.issue(USER, roles, now=NOW)
    assert tokens.read(token) == Principal(user_id=USER, roles=roles, expires_at=NOW + timedelta(seconds=900))
    assert lives == 900
    header, payload = parts(token)
    assert header.keys() == {"alg", "kid", "typ"}
    assert (header["alg"], header["typ"]) == ("HS256", "at+jwt")
    assert payload.keys() == {"exp", "iat", "iss", "aud", "sub", "jti", "roles"}
    assert (payload["iat"], payload["exp"]) == (SECONDS, SECONDS + 900)
    assert parts(tokens.issue(USER, roles, now=NOW)[0])[1]["jti"] != payload["jti"]


def test_the_key_id_tells_nothing_of_the_secret_and_the_key_is_not_the_secret() -> None:
    assert HEADER["kid"] not in {OLD.hex()[:16], KEY.hex()[:16], hashlib.sha256(OLD).hexdigest()[:16]}
    with pytest.raises(TokenInvalid):
        tokens_of().read(signed(HEADER, PAYLOAD, OLD))


@pytest.mark.parametrize(
    "forged",
    [
        pytest.param(
            f"{encoded(json.dumps({**HEADER, 'alg': alg}).encode())}.{issued().split('.')[1]}.{signature}",
            id=f"{alg}-{'signed' if signature else 'unsigned'}",
        )
        for alg in ("none", "None", "NONE", "nOnE", "", "RS256", "ES256", "HS512", "HS256 ", "hs256")
        for signature in ("", issued().split(".")[2])
    ],
)
def test_no_other_algorithm_is_taken_with_or_without_a_signature(forged: str) -> None:
    with pytest.raises(TokenInvalid):
        tokens_of().read(forged)


@pytest.mark.parametrize("digest", ["sha384", "sha512"])
def test_another_hmac_with_the_right_key_is_refused(digest: str) -> None:
    with pytest.raises(TokenInvalid):
        tokens_of().read(signed({**HEADER, "alg": f"HS{digest[3:]}"}, PAYLOAD, digest=digest))


@pytest.mark.parametrize("alg", ["HS256", "RS256"])
@pytest.mark.parametrize(
    "key",
    [PUBLIC_KEY.encode(), PUBLIC_KEY.strip().encode(), b"", b"secret", KEY.hex().encode(), secrets.token_bytes(32)],
)
def test_a_token_signed_with_another_key_or_a_public_one_is_refused(alg: str, key: bytes) -> None:
    with pytest.raises(TokenInvalid):
        tokens_of().read(signed({**HEADER, "alg": alg}, PAYLOAD, key))


@pytest.mark.parametrize(
    "extra",
    [
        {"jku": "http://127.0.0.1/keys"},
        {"x5u": "http://127.0.0.1/certificate"},
        {"jwk": {"kty": "oct", "k": encoded(b"a" * 32)}},
        {"x5c": ["MIIB"]},
        {"crit": ["exp"]},
        {"b64": False, "crit": ["b64"]},
        {"zip": "DEF"},
        {"cty": "JWT"},
        {"surprise": 1},
    ],
)
@pytest.mark.parametrize("key", [KEY, b"a" * 32], ids=["our key", "their key"])
def test_a_header_that_brings_its_own_key_or_anything_else_is_refused(extra: dict[str, Any], key: bytes) -> None:
    with pytest.raises(TokenInvalid):
        tokens_of().read(signed({**HEADER, **extra}, PAYLOAD, key))


@pytest.mark.parametrize(
    "kid",
    [
        "",
        "0" * 16,
        "../../../../dev/null",
        "/dev/null",
        "' union select 'key' -- ",
        "key\0",
        "%s",
        None,
        1,
        ["a"],
        {"a": 1},
        True,
    ],
)
@pytest.mark.parametrize("key", [KEY, b"", b"key"])
def test_a_key_id_of_no_key_of_ours_is_refused(kid: object, key: bytes) -> None:
    with pytest.raises(TokenInvalid):
        tokens_of().read(signed({**HEADER, "kid": kid}, PAYLOAD, key))


@pytest.mark.parametrize("missing", ["alg", "kid", "typ"])
def test_a_header_without_its_three_parts_is_refused(missing: str) -> None:
    with pytest.raises(TokenInvalid):
        tokens_of().read(signed({name: value for name, value in HEADER.items() if name != missing}, PAYLOAD))


@pytest.mark.parametrize(
    "typ", ["JWT", "jwt", "AT+JWT", "application/at+jwt", "id+jwt", "logout+jwt", "", None, 1, ["at+jwt"]], ids=repr
)
def test_another_type_is_refused(typ: object) -> None:
    with pytest.raises(TokenInvalid):
        tokens_of().read(signed({**HEADER, "typ": typ}, PAYLOAD))


@pytest.mark.parametrize("missing", ["exp", "iat", "iss", "aud", "sub", "jti", "roles"])
def test_a_token_without_a_required_claim_is_refused(missing: str) -> None:
    with pytest.raises(TokenInvalid):
        tokens_of().read(signed(HEADER, {name: value for name, value in PAYLOAD.items() if name != missing}))


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        ("aud", "another-api"),
        ("aud", ["vigil-api"]),
        ("aud", ["vigil-api", "another-api"]),
        ("aud", ""),
        ("iss", "http://127.0.0.1:8001"),
        ("iss", "http://127.0.0.1:8000/"),
        ("iss", ["http://127.0.0.1:8000"]),
        ("sub", "somebody"),
        ("sub", 7),
        ("sub", ""),
        ("jti", ""),
        ("jti", 1),
        ("exp", str(SECONDS + 900)),
        ("exp", SECONDS + 900.5),
        ("exp", True),
        ("exp", None),
        ("exp", [SECONDS + 900]),
        ("iat", str(SECONDS)),
        ("iat", None),
        ("roles", "admin"),
        ("roles", [1]),
        ("roles", None),
        ("roles", {"admin": True}),
    ],
)
def test_a_claim_with_another_value_or_type_is_refused(claim: str, value: object) -> None:
    with pytest.raises(TokenInvalid):
        tokens_of().read(signed(HEADER, {**PAYLOAD, claim: value}))


@pytest.mark.parametrize("payload", [None, 1, "text", [], [PAYLOAD], {}])
def test_a_payload_that_is_not_our_object_is_refused(payload: object) -> None:
    with pytest.raises(TokenInvalid):
        tokens_of().read(signed(HEADER, payload))


@pytest.mark.parametrize(
    "claims", [{"iat": SECONDS + 30}, {"nbf": SECONDS + 30}, {"nbf": SECONDS - 900}, {"exp": SECONDS - 29}], ids=str
)
def test_clocks_may_differ_by_thirty_seconds(claims: dict[str, int]) -> None:
    assert tokens_of().read(signed(HEADER, PAYLOAD | {"iat": SECONDS - 900} | claims)).user_id == USER


@pytest.mark.parametrize(
    "claims",
    [{"iat": SECONDS + 31}, {"nbf": SECONDS + 31}, {"exp": SECONDS - 30}, {"exp": 0}, {"exp": -(2**53)}],
)
def test_clocks_may_not_differ_by_more(claims: dict[str, int]) -> None:
    with pytest.raises(TokenInvalid):
        tokens_of().read(signed(HEADER, PAYLOAD | {"iat": SECONDS - 900} | claims))


def test_an_issued_token_ends_by_the_clock_that_was_passed_in() -> None:
    token = issued()
    assert tokens_of(at=NOW + timedelta(seconds=929)).read(token).user_id == USER
    for wrong in (NOW + timedelta(seconds=930), NOW + timedelta(days=365), NOW - timedelta(seconds=31)):
        with pytest.raises(TokenInvalid):
            tokens_of(at=wrong).read(token)


def test_a_token_that_was_read_before_ends_all_the_same() -> None:
    clock = [NOW]
    tokens = JwtAccessTokens([OLD], issuer="http://127.0.0.1:8000", now=lambda: clock[0], new_id=uuid7)
    token, seconds = tokens.issue(USER, frozenset({"member"}), now=NOW)
    assert tokens.read(token) == tokens.read(token)
    clock[0] += timedelta(seconds=seconds + 31)
    with pytest.raises(TokenInvalid):
        tokens.read(token)


def test_a_new_secret_signs_and_the_old_one_verifies_until_it_is_taken_out() -> None:
    both = tokens_of(NEW, OLD)
    old, new = issued(), issued(both)
    assert both.read(old).user_id == both.read(new).user_id == USER
    assert tokens_of(NEW).read(new).user_id == USER
    for token, reader in ((old, tokens_of(NEW)), (new, tokens_of(OLD))):
        with pytest.raises(TokenInvalid):
            reader.read(token)


def test_the_key_of_one_secret_under_the_key_id_of_another_is_refused() -> None:
    with pytest.raises(TokenInvalid):
        tokens_of(NEW, OLD).read(signed(parts(issued(tokens_of(NEW)))[0], PAYLOAD, KEY))


@pytest.mark.parametrize(
    "other",
    [tokens_of(issuer="http://127.0.0.1:9000"), tokens_of(audience="another-api")],
    ids=["another issuer", "another audience"],
)
def test_a_token_of_another_installation_with_the_same_secret_is_refused(other: JwtAccessTokens) -> None:
    with pytest.raises(TokenInvalid):
        tokens_of().read(issued(other))


LINKS = HmacLinkTokens([OLD])


@pytest.mark.parametrize(
    "make",
    [
        lambda: LINKS.make("verify-email", USER, USER),
        lambda: secrets.token_urlsafe(32),
        lambda: ".".join([LINKS.make("verify-email", USER, USER)] * 3),
        lambda: signed(HEADER, PAYLOAD, derived_key(OLD, "vigil link token")),
    ],
    ids=["link token", "refresh token", "three link tokens", "signed with the link key"],
)
def test_no_other_token_of_ours_is_an_access_token(make: Callable[[], str]) -> None:
    with pytest.raises(TokenInvalid):
        tokens_of().read(make())


def test_an_access_token_is_no_link_token() -> None:
    for text in (issued(), issued()[:86]):
        with pytest.raises(LinkInvalid):
            LINKS.read("verify-email", text)


@given(
    st.text(alphabet=st.characters(codec=None), max_size=60)
    | st.from_regex(r"[A-Za-z0-9_=-]*\.[A-Za-z0-9_=-]*\.[A-Za-z0-9_=-]*", fullmatch=True)
)
def test_any_text_is_refused_and_never_breaks(text: str) -> None:
    with pytest.raises(TokenInvalid):
        tokens_of().read(text)


@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit"]), inner),
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_header_is_refused_and_never_breaks(header: bytes) -> None:
    _, payload, signature = issued().split(".")
    with pytest.raises(TokenInvalid):
        tokens_of().read(f"{encoded(header)}.{payload}.{signature}")


def test_a_text_of_megabytes_is_refused_at_once() -> None:
    with pytest.raises(TokenInvalid):
        tokens_of().read("." * 10_000_000)
