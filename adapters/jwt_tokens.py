"""Access tokens as signed JSON Web Tokens after RFC 9068, strict in what is accepted (RFC 8725)."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import jwt
import msgspec

from adapters.secret_key import derived_key
from commands.caller import Principal, TokenInvalid

LIFETIME_SECONDS = 900
LEEWAY_SECONDS = 30
"""How far the clocks of two hosts may lie apart."""

_ALGORITHM = "HS256"
_TYPE = "at+jwt"
_HEADER_NAMES = {"alg", "kid", "typ"}
_TOKEN_CHARS_MAX = 4096
_TOKENS_KNOWN_MAX = 4096


class _Claims(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What must stand in a token, each of exactly this type. `exp` and `iat` are whole seconds since 1970."""

    exp: int
    iat: int
    iss: str
    aud: str
    sub: UUID
    jti: UUID
    roles: frozenset[str]
    nbf: int | None = None


class JwtAccessTokens:
    """Fulfils the ports `commands.identity_ports.AccessTokens` and `commands.caller.TokenReader`.

    `secrets` are installation secrets: the first signs, all verify, found by `kid`; one that is taken out kills its
    tokens. Only HS256 with a key of our own is ever tried, whatever a token's header asks for. `now` is the clock of
    reading, `new_id` makes the `jti`.
    """

    def __init__(
        self,
        secrets: Sequence[bytes],
        *,
        issuer: str,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
        audience: str = "vigil-api",
    ) -> None:
        self._keys = {_key_id(secret): derived_key(secret, "vigil access token") for secret in secrets}
        self._signing_id = _key_id(secrets[0])
        self._issuer, self._audience = issuer, audience
        self._now, self._new_id = now, new_id
        # Good tokens come again and again, and stay good for the keys of this process but for the time; bad ones are not kept.
        self._claims = lru_cache(_TOKENS_KNOWN_MAX)(self._verified)

    def issue(self, user_id: UUID, roles: frozenset[str], *, now: datetime) -> tuple[str, int]:
        """A token for this person with these roles, and the seconds it lives."""
        issued = int(now.timestamp())
        claims = _Claims(
            exp=issued + LIFETIME_SECONDS,
            iat=issued,
            iss=self._issuer,
            aud=self._audience,
            sub=user_id,
            jti=self._new_id(),
            roles=roles,
        )
        token = jwt.encode(
            msgspec.to_builtins(claims, order="sorted"),
            self._keys[self._signing_id],
            algorithm=_ALGORITHM,
            headers={"typ": _TYPE, "kid": self._signing_id},
        )
        return token, LIFETIME_SECONDS

    def read(self, token: str) -> Principal:
        """Who the token speaks for; raises `TokenInvalid` for anything that is not a token of ours, in force now."""
        if len(token) > _TOKEN_CHARS_MAX:
            raise TokenInvalid
        try:
            claims = self._claims(token)
        except (jwt.PyJWTError, msgspec.ValidationError, UnicodeError) as error:
            raise TokenInvalid from error
        now = self._now().timestamp()
        starts = max(claims.iat, claims.nbf or 0)
        if not starts - LEEWAY_SECONDS <= now < claims.exp + LEEWAY_SECONDS:
            raise TokenInvalid
        expires_at = datetime.fromtimestamp(claims.exp, UTC)
        return Principal(user_id=claims.sub, roles=claims.roles, expires_at=expires_at)

    def _verified(self, token: str) -> _Claims:
        """The claims of a token with our header, signature, issuer and audience. The times are compared by `read`,
        because PyJWT would take the clock of the process."""
        header = jwt.get_unverified_header(token)
        # Ours have these three and no other: jku, x5u, jwk, crit and their kin are refused unread.
        if header.keys() != _HEADER_NAMES or header["typ"] != _TYPE or header["kid"] not in self._keys:
            raise TokenInvalid
        payload: dict[str, Any] = jwt.decode(
            token,
            self._keys[header["kid"]],
            algorithms=[_ALGORITHM],
            issuer=self._issuer,
            audience=self._audience,
            options={
                "require": ["exp", "iat", "iss", "aud", "sub", "jti"],
                "strict_aud": True,
                "enforce_minimum_key_length": True,
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
        return msgspec.convert(payload, _Claims)


def _key_id(secret: bytes) -> str:
    """A name for a key that tells nothing about it."""
    return derived_key(secret, "vigil access token key id").hex()[:16]
