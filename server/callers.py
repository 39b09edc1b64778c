"""Who may come in at the MRD door, which knows clients by their addresses only."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import socket
import time
from collections.abc import Sequence

from echotrain.mrd import Close, Text, encode
from echotrain.mrd.errors import ConfigError

from .settings import Settings

_log = logging.getLogger(__name__)

LOGGED_EVERY = 60.0  # [s], for one address that is not listed
_REMEMBERED = 1000  # such addresses
_READ_AWAY = 1 << 16  # [bytes] of one that is refused, as closing with data unread takes back the words

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Callers:
    """Lets in listed addresses (everybody, where none is), up to so many connections of each and of all."""

    def __init__(self, settings: Settings) -> None:
        """Read the list.

        Raises:
            ConfigError: where it holds what is no address.
        """
        self._networks = read_networks(settings.mrd_allow)
        self._most, self._most_of_one = settings.mrd_connections, settings.sessions_per_client
        self._logged: dict[str, float] = {}

    def lets_in(self, connection: socket.socket, address: str, others: Sequence[str]) -> bool:
        """Whether a connection may stay beside those of `others`, by address; else it is closed.

        One that is not listed is told nothing.
        """
        if self._networks and not is_listed(address, self._networks):
            self._log(address)
            connection.close()
            return False
        for count, most, option in (
            (others.count(address), self._most_of_one, f"--sessions-per-client, from {address}"),
            (len(others), self._most, "this server takes"),
        ):
            if most and count >= most:
                _turn_away(connection, f"error: there are {count} connections, the most of {option}; end one first\n")
                return False
        return True

    def _log(self, address: str) -> None:
        now = time.monotonic()
        if now - self._logged.get(address, -LOGGED_EVERY) >= LOGGED_EVERY:
            if len(self._logged) >= _REMEMBERED:
                self._logged.clear()
            self._logged[address] = now
            _log.warning("%s was turned away at the MRD door; --mrd-allow does not list it", address)


def _turn_away(connection: socket.socket, words: str) -> None:
    """Close a connection with words, which arrive if there is room for them."""
    with connection, contextlib.suppress(OSError):
        connection.setblocking(False)
        connection.sendall(bytes(encode(Text(words))) + bytes(encode(Close())))
        connection.shutdown(socket.SHUT_WR)
        connection.recv(_READ_AWAY)


def read_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """The networks that `ADDRESS` or `ADDRESS/BITS` stand for.

    Raises:
        ConfigError: where one is neither.
    """
    found = []
    for text in texts:
        try:
            found.append(ipaddress.ip_network(text))
        except ValueError as error:
            raise ConfigError(f"--mrd-allow {text}: {error}; write ADDRESS or ADDRESS/BITS, as 10.0.0.0/24") from error
    return tuple(found)


def is_listed(address: str, networks: Sequence[Network]) -> bool:
    """Whether an address is in one of `networks`; an IPv4 address may be mapped into IPv6."""
    found = plain_address(address.partition("%")[0])
    return any(found in network for network in networks)


def plain_address(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address in a text, as IPv4 where that is mapped into IPv6.

    Raises:
        ValueError: where it is none.
    """
    found = ipaddress.ip_address(address)
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found
