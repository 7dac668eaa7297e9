"""Content codings undone piece by piece, so that a small body never grows past its limit in memory."""

import zlib

MEMBERS_MAX = 64
_GZIP_MAGIC = b"\x1f\x8b"


class TooLarge(Exception):
    """The body is larger than the limit."""


class NotDecodable(Exception):
    """The body is not what its Content-Encoding says."""


class BodyDecoder:
    """Collects a body of `coding` (identity, gzip, deflate; RFC 9110, section 8.4.1) up to `bytes_max` decoded bytes.

    Each step asks zlib for at most one byte more than is still allowed, so 29 KB that inflate to 30 MB cost the limit.
    Raises `NotDecodable` for other codings.
    """

    def __init__(self, coding: str, bytes_max: int) -> None:
        self._coding = coding.strip().lower().removeprefix("x-") or "identity"
        if self._coding not in {"identity", "gzip", "deflate"}:
            raise NotDecodable
        self._bytes_max = bytes_max
        self._body = bytearray()
        self._inflater: zlib._Decompress | None = None
        self._members = 0
        self._trailing = False

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the wire. Raises `TooLarge` or `NotDecodable`."""
        if self._coding == "identity":
            self._keep(piece)
        elif not self._trailing:
            self._inflate(piece)

    def finish(self) -> bytes:
        """The whole decoded body. Raises `NotDecodable` when it broke off."""
        if self._inflater is not None and not self._inflater.eof:
            raise NotDecodable
        return bytes(self._body)

    def _keep(self, piece: bytes) -> None:
        if len(self._body) + len(piece) > self._bytes_max:
            raise TooLarge
        self._body += piece

    def _inflate(self, piece: bytes) -> None:
        while piece:
            if self._inflater is None or self._inflater.eof:
                if self._members and (self._coding == "deflate" or not piece.startswith(_GZIP_MAGIC[:1])):
                    self._trailing = True  # padding after the last member, which gzip(1) ignores too
                    return
                self._start_member(piece)
            inflater = self._inflater
            assert inflater is not None  # noqa: S101  # _start_member made one; said for the type checker
            try:
                self._keep(inflater.decompress(piece, self._bytes_max - len(self._body) + 1))
            except zlib.error as broken:
                raise NotDecodable from broken
            piece = inflater.unused_data

    def _start_member(self, piece: bytes) -> None:
        self._members += 1
        if self._members > MEMBERS_MAX:  # each member copies the rest of the input: thousands would be quadratic
            raise NotDecodable
        if self._coding == "gzip":
            self._inflater = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        else:  # RFC 1950 streams start with method 8; some servers send bare RFC 1951 data instead
            self._inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS if piece[0] & 0x0F == 8 else -zlib.MAX_WBITS)
