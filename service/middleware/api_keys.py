"""API keys: a file with their names, scopes and hashes, not the keys themselves."""

import fcntl
import hashlib
import hmac
import logging
import os
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mien.model.errors import ConfigError, first_fault
from mien.model.files import write_atomically
from mien.service.operation.logs import FIELDS
from mien.service.operation.metrics import Metrics

ScopeName = Literal["read", "write", "admin"]
"""What a key allows: requests that change nothing; changes of the gallery, too; changes of the service, too."""

SCOPE_NAMES: Final = get_args(ScopeName)

CHECK_EVERY_S: Final = 0.5
"""Seconds between two checks of the file: a revoked key is valid no longer than this and a read of the file."""

STALE_AFTER_S: Final = 30.0
"""No key is valid if the file could not be read for so long: one may have been revoked."""

MAX_FILE_BYTES: Final = 16 * 2**20

_log = logging.getLogger("mien.keys")

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
        if path.exists() and not path.is_file():  # reading a pipe would never end
            raise ConfigError(f"{path} is no key file: expected a file")
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return KeyFile()
    except OSError as error:
        raise ConfigError(f"the key file {path} cannot be read: {error.strerror}") from None
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError(f"{path} is no key file: expected at most {MAX_FILE_BYTES} bytes")
    try:
        return KeyFile.model_validate_json(content)
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
    with _locked(path):
        _write(path, KeyFile(keys=(*read_keys(path).keys, key)))
    return text


def revoke_key(path: Path, identity: str) -> Key:
    """Remove a key from a file.

    Raises:
        ConfigError: the file has no key with this id.
    """
    with _locked(path):
        keys = read_keys(path).keys
        revoked = next((key for key in keys if key.id == identity), None)
        if revoked is None:
            raise ConfigError(f"{path} has no key with the id {identity!r}; mien keys list shows those it has")
        _write(path, KeyFile(keys=tuple(key for key in keys if key is not revoked)))
    return revoked


class Keys:
    """The keys of a file. A key that is created or revoked takes effect within a second, without a restart.

    A thread reads the file: on a network folder that may take long, and requests go on meanwhile. While the file
    cannot be used, no key is valid, and the log and a metric say so.
    """

    def __init__(self, path: Path, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file, and start the thread.

        Raises:
            ConfigError: it is no key file, or has no key, so that every request would be refused.
        """
        self._path = path
        self._broken = metrics.key_file_broken
        self._clock = clock
        self._stamp = self._stamp_now()
        self._known = self._read()
        self._checked_s = clock()
        self._broken.set(0)
        threading.Thread(target=_check_regularly, args=(weakref.ref(self),), name="keys", daemon=True).start()

    def find(self, text: str) -> Key | None:
        """The entry of the key ``text``, or None; it takes as long for a wrong secret as for the right one."""
        identity = text.split("_", 2)[1] if text.count("_") >= 2 else ""
        key = self._known.get(identity) if self._clock() - self._checked_s < STALE_AFTER_S else None
        expected = key.sha256 if key else "0" * 64
        fits = hmac.compare_digest(_hash(text), expected)
        return key if fits else None

    def check(self) -> None:
        """Read the file if it has changed. Called by the thread only."""
        stamp = self._stamp_now()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._known = self._read()
            except ConfigError as error:
                self._known = {}
                self._broken.set(1)
                _log.error("no key is valid: the key file cannot be used", extra={FIELDS: {"reason": str(error)}})
            else:
                self._broken.set(0)
                _log.info("the key file was read again", extra={FIELDS: {"keys": len(self._known)}})
        now = self._clock()
        if now - self._checked_s >= STALE_AFTER_S:
            _log.error(
                "no key was valid meanwhile: reading the key file took long",
                extra={FIELDS: {"s": round(now - self._checked_s)}},
            )
        self._checked_s = now

    def _read(self) -> dict[str, Key]:
        known = {key.id: key for key in read_keys(self._path).keys}
        if not known:
            raise ConfigError(f"{self._path} has no key: mien keys create makes one")
        return known

    def _stamp_now(self) -> tuple[int, int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


def _check_regularly(reference: "weakref.ref[Keys]") -> None:
    """Check the file as long as the keys are in use."""
    while True:
        time.sleep(CHECK_EVERY_S)
        keys = reference()
        if keys is None:
            return
        keys.check()
        del keys


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other ``mien keys`` from changing the file meanwhile: both would write what only one has read.

    The folder is locked, as the file is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _write(path: Path, content: KeyFile) -> None:
    before = os.umask(0o077)  # only the user of this process may read it
    try:
        with write_atomically(path) as file:
            file.write(content.model_dump_json(indent=2).encode() + b"\n")
    finally:
        os.umask(before)
