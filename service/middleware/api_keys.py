"""API keys: a file with their names, scopes and hashes, not the keys themselves."""

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
"""What a key allows: requests that change nothing; changes of the gallery, too; changes of the service, too."""

SCOPE_NAMES: Final = get_args(ScopeName)

RELOAD_AFTER_S: Final = 1.0
"""Seconds between two checks of the file: a revoked key is valid no longer than this."""

_PREFIX: Final = "mien"


class Scope(IntEnum):
    """The scopes in ascending order: each allows what the ones before it allow."""

    READ = 0
    WRITE = 1
    ADMIN = 2


class Key(BaseModel):
    """An entry of the key file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[0-9a-f]{12}$")
    name: str
    scope: ScopeName
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    created: str

    @property
    def allows(self) -> Scope:
        """The scope, which can be compared."""
        return Scope[self.scope.upper()]


class KeyFile(BaseModel):
    """The content of a key file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[1] = 1
    keys: tuple[Key, ...] = ()


def read_keys(path: Path) -> KeyFile:
    """Read a key file; a missing one has no keys.

    Raises:
        ConfigError: it cannot be read, or is no key file.
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
    """Add a key to a file, and return it: the file does not have it.

    The secret has 256 random bits, so that a plain hash is enough: slow hashes are for secrets that can be guessed.

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
    """Remove a key from a file.

    Raises:
        ConfigError: the file has no key with this id.
    """
    keys = read_keys(path).keys
    revoked = next((key for key in keys if key.id == identity), None)
    if revoked is None:
        raise ConfigError(f"{path} has no key with the id {identity!r}; mien keys list shows those it has")
    _write(path, KeyFile(keys=tuple(key for key in keys if key is not revoked)))
    return revoked


class Keys:
    """The keys of a file. A key that is created or revoked takes effect within a second, without a restart."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file.

        Raises:
            ConfigError: it is no key file, or has no key, so that every request would be refused.
        """
        self._path = path
        self._clock = clock
        self._checked_s = clock()
        self._stamp = self._stamp_now()
        self._known = {key.id: key for key in read_keys(path).keys}
        if not self._known:
            raise ConfigError(f"{path} has no key: mien keys create makes one")

    def find(self, text: str) -> Key | None:
        """The entry of the key ``text``, or None; it takes as long for a wrong secret as for the right one."""
        self._reload()
        identity = text.split("_", 2)[1] if text.count("_") >= 2 else ""
        key = self._known.get(identity)
        expected = key.sha256 if key else "0" * 64
        fits = hmac.compare_digest(_hash(text), expected)
        return key if fits else None

    def _reload(self) -> None:
        now = self._clock()
        if now - self._checked_s < RELOAD_AFTER_S:
            return
        self._checked_s = now
        stamp = self._stamp_now()
        if stamp == self._stamp:
            return
        try:
            self._known = {key.id: key for key in read_keys(self._path).keys}
        except ConfigError:  # without a readable file no key is valid
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
    before = os.umask(0o077)  # only the user of this process may read it
    try:
        with write_atomically(path) as file:
            file.write(content.model_dump_json(indent=2).encode() + b"\n")
    finally:
        os.umask(before)
