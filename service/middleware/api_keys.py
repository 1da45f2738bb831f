"""API keys: a file that holds their names, scopes and hashes, never the keys themselves."""

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mien.model.errors import ConfigError, first_fault
from mien.model.files import write_atomically

ScopeName = Literal["read", "write", "admin"]
"""What a key may do: ask; change the gallery, too; change the service, too."""

SCOPE_NAMES: Final = get_args(ScopeName)

LOOK_AGAIN_S: Final = 1.0
"""How old the knowledge of the file may be: a key that was revoked works no longer than this."""

_PREFIX: Final = "mien"


class Scope(IntEnum):
    """The scopes in their order: each allows what those before it do."""

    READ = 0
    WRITE = 1
    ADMIN = 2


class Key(BaseModel):
    """What is kept of one key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[0-9a-f]{12}$")
    name: str
    scope: ScopeName
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    created: str

    @property
    def allows(self) -> Scope:
        """The scope, ordered."""
        return Scope[self.scope.upper()]


class KeyFile(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[1] = 1
    keys: tuple[Key, ...] = ()


def read_keys(path: Path) -> KeyFile:
    """Read a key file; one that is not there holds no keys.

    Raises:
        ConfigError: it cannot be read, or is none.
    """
    try:
        return KeyFile.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return KeyFile()
    except OSError as error:
        raise ConfigError(f"the key file {path} cannot be read: {error.strerror}") from None
    except ValidationError as error:
        raise ConfigError(f"{path} is no key file: {first_fault(error)}") from None


def create_key(path: Path, name: str, scope: ScopeName) -> str:
    """Add a key to a file, and return it: it can be read nowhere later.

    The secret has 256 random bits, so that a plain hash keeps it: slow hashing slows guessing, and there is nothing
    to guess.

    Raises:
        ConfigError: the file is no key file.
    """
    identity, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    text = f"{_PREFIX}_{identity}_{secret}"
    created = datetime.now(UTC).isoformat(timespec="seconds")
    key = Key(id=identity, name=name, scope=scope, sha256=_hash(text), created=created)
    _write(path, KeyFile(keys=(*read_keys(path).keys, key)))
    return text


def revoke_key(path: Path, identity: str) -> Key:
    """Take a key out of a file.

    Raises:
        ConfigError: the file has none with this id.
    """
    keys = read_keys(path).keys
    revoked = next((key for key in keys if key.id == identity), None)
    if revoked is None:
        raise ConfigError(f"{path} has no key with the id {identity!r}; mien keys list shows those it has")
    _write(path, KeyFile(keys=tuple(key for key in keys if key is not revoked)))
    return revoked


class Keys:
    """The keys of a file, as they are now: what is created or revoked counts within a second, without a restart."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file.

        Raises:
            ConfigError: it is no key file, or holds no key: nobody could come in.
        """
        self._path = path
        self._clock = clock
        self._looked = clock()
        self._stamp = self._stamp_now()
        self._known = {key.id: key for key in read_keys(path).keys}
        if not self._known:
            raise ConfigError(f"{path} holds no key: mien keys create makes one")

    def find(self, text: str) -> Key | None:
        """The key that ``text`` is, or None. Takes as long for a wrong secret as for the right one."""
        self._look_again()
        identity = text.split("_", 2)[1] if text.count("_") >= 2 else ""
        key = self._known.get(identity)
        expected = key.sha256 if key else "0" * 64
        fits = hmac.compare_digest(_hash(text), expected)
        return key if fits else None

    def _look_again(self) -> None:
        now = self._clock()
        if now - self._looked < LOOK_AGAIN_S:
            return
        self._looked = now
        stamp = self._stamp_now()
        if stamp == self._stamp:
            return
        try:
            self._known = {key.id: key for key in read_keys(self._path).keys}
        except ConfigError:  # a file that cannot be read opens nothing
            self._known = {}
        self._stamp = stamp

    def _stamp_now(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _write(path: Path, content: KeyFile) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    before = os.umask(0o077)  # its owner alone reads it
    try:
        with write_atomically(path) as file:
            file.write(content.model_dump_json(indent=2).encode() + b"\n")
    finally:
        os.umask(before)
