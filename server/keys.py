"""A folder of CURVE keys: the server's own pair, and the public key of every client that may come in.

KEYS/server.key      the server's secret key, with its public one
KEYS/server.pub      its public key
KEYS/NAME.key        a new client's keys and the server's public one, all that it needs; to be taken to that client
KEYS/clients/NAME.pub  lets the client in whose key it is; without it, that is refused
"""

from __future__ import annotations

import re
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

import zmq
import zmq.auth

from echotrain.mrd.errors import ConfigError, StorageError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_SERVER_KEY = re.compile(rb"^\s*server-key = (\S{40})\s*$", re.MULTILINE)
_KEY_CHARACTERS = 40  # of 32 bytes in Z85


@dataclass(frozen=True, slots=True, repr=False)
class Keys:
    """A pair of keys in ZeroMQ's text form, Z85; for a client, with the public key of its server."""

    public: bytes
    secret: bytes
    server: bytes = b""


class KeyFolder:
    """Makes, lists and revokes keys, and reads them; the folder is its owner's alone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.allowed = path / "clients"
        """Folder of the public keys of clients that may come in."""

    def make_server(self, *, replace: bool = False) -> Path:
        """Make the server's pair of keys; gives the file of its secret key.

        Raises:
            ConfigError: where there is one and it is not to be replaced.
            StorageError: where it cannot be written.
        """
        secret = self.path / "server.key"
        self._make("server", secret, self.path / "server.pub", {}, replace)
        return secret

    def make_client(self, name: str, *, replace: bool = False) -> Path:
        """Make a client's keys and let it in; gives the file to take to the client.

        Raises:
            ConfigError: for a name that is none, or has keys that are not to be replaced, or without a server's key.
            StorageError: where they cannot be written.
        """
        secret = self.path / f"{_checked(name)}.key"
        public, _ = _read(self.path / "server.pub")
        self._make(name, secret, self.allowed / f"{name}.pub", {"server-key": public.decode()}, replace)
        return secret

    def revoke(self, name: str) -> None:
        """Let the client of this name in no longer.

        Raises:
            ConfigError: where there is none.
        """
        path = self.allowed / f"{_checked(name)}.pub"
        try:
            path.unlink()
        except FileNotFoundError as error:
            names = ", ".join(sorted(found.stem for found in self._files())) or "none"
            raise ConfigError(f"{self.allowed} has no key of a client {name!r}; it has: {names}") from error

    def server(self) -> Keys:
        """The server's own pair.

        Raises:
            ConfigError: where there is none, it is damaged, or others may read it or write to the folder.
        """
        check_curve()
        for folder in (self.path, self.allowed):
            if folder.is_dir() and folder.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise ConfigError(f"others may write to {folder}, and so let themselves in; chmod 700 {folder}")
        return read_secret(self.path / "server.key", "make it with `echotrain keys new`")

    def clients(self) -> tuple[dict[str, str], list[str]]:
        """The name of each client by the public key that lets it in, and words for each file that is no key."""
        found: dict[str, str] = {}
        damaged = []
        for path in self._files():
            try:
                public, _ = _read(path)
                found[public.decode()] = path.stem
            except ConfigError as error:
                damaged.append(error.message)
        return found, damaged

    def state(self) -> tuple[object, ...]:
        """Something that is another once a key was made, replaced or revoked."""
        found: list[object] = []
        for path in (self.path / "server.key", *self._files()):
            try:
                status = path.stat()
            except OSError:
                continue
            found.append((path.name, status.st_mtime_ns, status.st_size, status.st_ino))
        return tuple(found)

    def _files(self) -> list[Path]:
        return sorted(self.allowed.glob("*.pub"))

    def _make(self, name: str, secret: Path, public: Path, facts: dict[str, str], replace: bool) -> None:
        check_curve()
        for path in (secret, public):
            if path.exists() and not replace:
                raise ConfigError(f"{path} is there already; say --replace to make another key in its place")
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.allowed.mkdir(exist_ok=True, mode=0o700)
            with tempfile.TemporaryDirectory(dir=self.path) as partial:  # whose mode is 0700
                made_public, made_secret = map(Path, zmq.auth.create_certificates(partial, name, facts))
                for made, path in ((made_secret, secret), (made_public, public)):
                    made.chmod(0o600)
                    made.replace(path)
        except OSError as error:
            raise StorageError(f"cannot write keys to {self.path}: {error.strerror or error}") from error


def default_keys_folder() -> Path:
    """Where `echotrain keys` keeps keys unless it is told otherwise."""
    return Path.home() / ".echotrain" / "keys"


def read_client(path: Path) -> Keys:
    """A client's keys out of the file that `echotrain keys new NAME` made.

    Raises:
        ConfigError: where it cannot be read, is no such file, or others may read it.
    """
    check_curve()
    keys = read_secret(path, "give the file NAME.key that `echotrain keys new NAME` made on the server")
    server = _SERVER_KEY.search(path.read_bytes())
    if server is None:
        raise ConfigError(f"{path} has no server-key, so it is not a client's; make one with `echotrain keys new NAME`")
    return Keys(keys.public, keys.secret, server[1])


def read_secret(path: Path, remedy: str) -> Keys:
    """The pair in a file that only its owner may read.

    Raises:
        ConfigError: where it is not such a file; `remedy` says what to do where there is none.
    """
    if not path.is_file():
        raise ConfigError(f"there is no key {path}; {remedy}")
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"others may read or write the secret key {path}; chmod 600 {path}")
    public, secret = _read(path)
    if not secret:
        raise ConfigError(f"{path} holds no secret key; {remedy}")
    return Keys(public, secret)


def check_curve() -> None:
    """Make sure that ZeroMQ has keys.

    Raises:
        ConfigError: where it was built without CURVE.
    """
    if not zmq.has("curve"):
        raise ConfigError("this ZeroMQ was built without CURVE, so has no keys; install pyzmq's own wheel with pip")


def _read(path: Path) -> tuple[bytes, bytes]:
    """The public key in a file, and the secret one or nothing."""
    try:
        if not path.exists():
            raise ConfigError(f"there is no key {path}; make the server's with `echotrain keys new`")
        public, secret = zmq.auth.load_certificate(path)
    except (OSError, ValueError, IndexError) as error:  # the last for a line with a name alone
        raise ConfigError(f"{path} is no file of a key: {error}") from error
    for key in (public, secret or public):
        if len(key) != _KEY_CHARACTERS or not key.isascii():
            raise ConfigError(f"{path} is no file of a key: keys have {_KEY_CHARACTERS} characters")
    return public, secret or b""


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name) or name == "server":
        raise ConfigError(
            f"{name[:64]!r} is no name of a client; use up to 64 letters, digits, - _ and . (and not `server`)"
        )
    return name
