"""Which addresses a monitor may read: an own deny table, checked on the address of the connection itself.

A name is resolved once, every answer is checked, and the connection goes to a checked address, while the Host header and
the TLS server name stay those of the URL. `ipaddress.is_global` is no such filter: on CPython 3.11 it passes cloud
metadata addresses, multicast and 6to4 wrappings of loopback (OWASP ASVS 5.0, 1.3.6 and 13.2.4; OWASP API7:2023).
"""

import re
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from aiohappyeyeballs import AddrInfoType
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

URL_CHARS_MAX = 2048
PORTS = frozenset({80, 443})

_DENIED: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(network), why)
    for network, why in (
        # IANA IPv4 Special-Purpose Address Registry (RFC 6890) and what cloud providers serve inside public space.
        ("0.0.0.0/8", "this host (RFC 791)"),
        ("10.0.0.0/8", "a private network (RFC 1918)"),
        ("100.64.0.0/10", "carrier-grade NAT (RFC 6598)"),
        ("127.0.0.0/8", "this machine (RFC 1122)"),
        ("168.63.129.16/32", "a cloud provider's internal service"),
        ("169.254.0.0/16", "link-local, where cloud metadata is served (RFC 3927)"),
        ("172.16.0.0/12", "a private network (RFC 1918)"),
        ("192.0.0.0/24", "protocol assignments (RFC 6890)"),
        ("192.0.2.0/24", "documentation (RFC 5737)"),
        ("192.88.99.0/24", "6to4 relays (RFC 7526)"),
        ("192.168.0.0/16", "a private network (RFC 1918)"),
        ("198.18.0.0/15", "benchmarking (RFC 2544)"),
        ("198.51.100.0/24", "documentation (RFC 5737)"),
        ("203.0.113.0/24", "documentation (RFC 5737)"),
        ("224.0.0.0/4", "multicast (RFC 5771)"),
        ("240.0.0.0/4", "reserved or broadcast (RFC 1112)"),
        # IANA IPv6 Special-Purpose Address Registry.
        ("::1/128", "this machine (RFC 4291)"),
        ("::/128", "the unspecified address (RFC 4291)"),
        ("64:ff9b:1::/48", "local NAT64 (RFC 8215)"),
        ("100::/64", "discarded traffic (RFC 6666)"),
        ("2001::/23", "protocol assignments (RFC 2928)"),
        ("2001:db8::/32", "documentation (RFC 3849)"),
        ("3fff::/20", "documentation (RFC 9637)"),
        ("fc00::/7", "a private network (RFC 4193)"),
        ("fe80::/10", "link-local (RFC 4291)"),
        ("fec0::/10", "site-local (RFC 3879)"),
        ("ff00::/8", "multicast (RFC 4291)"),
        # Only 2000::/3 is given out as global unicast; the rest, with IPv4-compatible and -translated forms, is not.
        ("::/3", "not global unicast (RFC 4291)"),
        ("4000::/2", "not global unicast (RFC 4291)"),
        ("8000::/1", "not global unicast (RFC 4291)"),
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")
_LOOPBACK = (IPv4Address("127.0.0.1"), IPv6Address("::1"))
_HOST_NAME = re.compile(r"(?=.{1,253}\.?\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_-]{1,63}\.?\Z")
_AUTHORITY = re.compile(r"[^/?#]*//([^/?#]*)")  # RFC 3986, appendix B
_CURE = "Monitors read public addresses; an operator may allow a network with VIGIL_FETCH_ALLOW_NETWORKS."
_SUCH_AS = "such as https://example.org/page."


class AddressRefused(Exception):
    """Vigil does not read this address. `message` says why, for people."""

    def __init__(self, message: str) -> None:
        self.message = message
        super().__init__(message)


class NetworkGuard:
    """Judges URLs and addresses. `allowed_networks` are CIDR blocks which win over the deny table.

    Raises `ValueError` naming the text that is not a CIDR block.
    """

    def __init__(self, allowed_networks: Sequence[str] = ()) -> None:
        self._allowed: tuple[Network, ...] = tuple(ip_network(network.strip()) for network in allowed_networks)

    def check_url(self, url: str | URL) -> None:
        """Refuse, without touching the network, what can be known to be unreadable from the URL alone.

        A name is judged by the addresses it leads to, when it is resolved. Raises `AddressRefused`.
        """
        parsed = _parsed(url)
        host, port = parsed.raw_host, parsed.port
        if parsed.scheme not in {"http", "https"}:
            raise AddressRefused(f"Only http and https addresses can be read, {_SUCH_AS}")
        if not host or port is None:
            raise AddressRefused(f"The address names no host; write one {_SUCH_AS}")
        written = _AUTHORITY.match(str(url))
        authority = written[1] if written else ""  # as written: the parser drops an empty user name and brackets
        if "@" in authority:
            raise AddressRefused("A user name or password in an address is not accepted; send it as a header.")
        if authority.startswith("[") and ":" not in host:
            raise AddressRefused("The address names no valid host.")
        literal = _literal(host)
        if literal is not None:
            self.check_address(literal, port)
        elif host.rstrip(".") == "localhost" or host.rstrip(".").endswith(".localhost"):  # RFC 6761, section 6.3
            if not any(self._is_allowed(address) for address in _LOOPBACK):
                raise AddressRefused(f"{host} is this machine. {_CURE}")
        elif port not in PORTS and not self._allowed:
            raise _port_refused(port)

    def is_own_literal(self, url: URL) -> bool:
        """Whether the host of a checked URL is written as an address in an allowed network."""
        literal = _literal(url.raw_host or "")
        return literal is not None and self._is_allowed(literal)

    def check_address(self, address: Address, port: int) -> None:
        """Refuse an address a connection is about to go to. Raises `AddressRefused`."""
        if self._is_allowed(address):
            return
        for judged in _embedded(address):
            for network, why in _DENIED:
                if judged in network:
                    raise AddressRefused(f"This address belongs to {why}. {_CURE}")
        if port not in PORTS:
            raise _port_refused(port)

    def checked(self, answers: Sequence[ResolveResult], port: int) -> list[ResolveResult]:
        """The answers of a name server a connection may go to.

        Answers in an allowed network are taken alone; without any, one denied answer refuses them all, since a public
        name that also leads inside is an attack (DNS rebinding). Raises `AddressRefused`.
        """
        allowed = [answer for answer in answers if self._is_allowed(_address(answer["host"]))]
        if allowed:
            return allowed
        for answer in answers:
            self.check_address(_address(answer["host"]), port)
        return list(answers)

    def open_socket(self, target: AddrInfoType) -> socket.socket:
        """A socket for one connection attempt, after a last look at where it goes (aiohttp's `socket_factory`).

        aiohttp asks no resolver about hosts that look like an address, so this check stands behind all others. Raises
        `OSError`, which is what aiohttp expects of a failed attempt.
        """
        family, kind, protocol, _, where = target
        try:
            self.check_address(_address(str(where[0])), int(where[1]))
        except AddressRefused as refused:
            raise PermissionError(refused.message) from refused
        return socket.socket(family=family, type=kind, proto=protocol)

    def _is_allowed(self, address: Address) -> bool:
        return all(any(judged in network for network in self._allowed) for judged in _embedded(address)) or any(
            address in network for network in self._allowed
        )


class GuardedResolver(AbstractResolver):
    """Resolves a name once and hands out only checked addresses. `inner` does the asking (the system's resolver)."""

    def __init__(self, guard: NetworkGuard, inner: AbstractResolver | None = None) -> None:
        self._guard = guard
        self._inner = inner

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The checked addresses of `host`. Raises `AddressRefused`, or `OSError` for a name that does not exist."""
        if self._inner is None:
            self._inner = ThreadedResolver()
        return self._guard.checked(await self._inner.resolve(host, port, family), port)

    async def close(self) -> None:
        """Release the inner resolver."""
        if self._inner is not None:
            await self._inner.close()


def _parsed(url: str | URL) -> URL:
    text = str(url)
    if len(text) > URL_CHARS_MAX:
        raise AddressRefused(f"An address has at most {URL_CHARS_MAX} characters.")
    if any(char.isspace() or not char.isprintable() or char == "\\" for char in text):
        # Parsers disagree about these (WHATWG URL strips or turns them), so two of them could see two hosts.
        raise AddressRefused("An address holds no spaces, control characters or backslashes.")
    try:
        return url if isinstance(url, URL) else URL(url)
    except (ValueError, UnicodeError) as broken:
        raise AddressRefused(f"This is not a web address, {_SUCH_AS}") from broken


def _literal(host: str) -> Address | None:
    """The address a host is written as, or None for a name.

    Only the usual forms are read: libc also takes decimal, octal, hexadecimal and shortened IPv4 (inet_aton), which
    nobody uses honestly. A last label that is a number makes a host an address (WHATWG URL, "ends in a number").
    """
    try:
        if ":" in host:
            if "%" in host:
                raise AddressRefused("An address with a zone belongs to a local network.")
            return IPv6Address(host)
        last = host.rstrip(".").rpartition(".")[2]
        if last.isdigit() or re.fullmatch(r"0[xX][0-9a-fA-F]*", last):
            return IPv4Address(host)
    except ValueError as unusual:
        raise AddressRefused("Write an IP address in its usual form, or use a name.") from unusual
    if not _HOST_NAME.match(host):
        raise AddressRefused("The address names no valid host.")
    return None


def _embedded(address: Address) -> tuple[Address, ...]:
    """Where packets to an address really go: the IPv4 addresses inside mapped (RFC 4291), NAT64 (RFC 6052), 6to4
    (RFC 3056) and Teredo (RFC 4380: server and client) addresses, else the address itself."""
    if isinstance(address, IPv4Address):
        return (address,)
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address in _NAT64:
        return (IPv4Address(int(address) & 0xFFFFFFFF),)
    if address.sixtofour is not None:
        return (address.sixtofour,)
    if address.teredo is not None:
        return address.teredo
    return (address,)


def _address(host: str) -> Address:
    try:
        return ip_address(host)
    except ValueError as unusual:
        raise AddressRefused("The name leads to something that is no IP address.") from unusual


def _port_refused(port: int) -> AddressRefused:
    return AddressRefused(f"Port {port} is not read; web pages are served on 80 and 443. {_CURE}")
