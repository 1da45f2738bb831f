"""The connection to a Milvus server: patience when it does not answer, and a clock that all its clients share.

A call that a server did not answer, because it is being restarted or moved, is made again until the address's patience
ends. Every call of a gallery may be made twice: what is written has an id, and is written over itself.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from mien.index.errors import GalleryError, GalleryFullError
from mien.index.gallery.milvus.address import MilvusAddress
from mien.model.errors import ConfigError

Answer = TypeVar("Answer")

ATTEMPT_S: Final = 20.0
"""How long one attempt of a call may take."""

_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 2.0

_LOGICAL_BITS: Final = 18
_KEPT_LOGICAL_BITS: Final = 10

_NOT_ITS_FAULT: Final = frozenset({8, 9})
"""Milvus's codes for "too fast" and "no more writes for now"."""

_REFUSALS: Final = frozenset({1100, 1101, 1400, 1401, 1601, 1602})
"""Milvus's codes for requests that are wrong, nobody allowed, and aliases that are taken."""

_REFUSAL_SIGNS: Final = ("cannot parse expression", "permission deny")
_STRANGER_SIGNS: Final = ("unauthenticated", "auth check failure")
"""Of a refusal at the door. Later a server says so, too, while it starts anew and does not know its users yet."""

_log = logging.getLogger(__name__)


class MilvusConnection:
    """A client of one server that tries again. Thread-safe."""

    def __init__(self, address: MilvusAddress) -> None:
        """Connect.

        Raises:
            ConfigError: the client is not installed.
            GalleryError: the server does not answer, or lets nobody of this name in.
        """
        try:
            from pymilvus import MilvusClient, MilvusException
        except ImportError:
            raise ConfigError(
                f"{address} is a distributed gallery, whose client is not installed: pip install 'mien[distributed]'"
            ) from None
        # Each failed attempt is logged there, with a traceback; what comes of it is raised, or tried again.
        for name in [name for name in logging.root.manager.loggerDict if name.split(".")[0] == "pymilvus"]:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self.address = address
        self._failures: tuple[type[Exception], ...] = (MilvusException, *_transport_failures())
        self._lock = threading.Lock()
        self._last_write = 0
        self._signs: tuple[str, ...] = (*_REFUSAL_SIGNS, *_STRANGER_SIGNS)
        self.client: Any = self.trying(
            "connecting",
            lambda: MilvusClient(address.server, token=address.token, db_name=address.database, timeout=ATTEMPT_S),
        )
        self._signs = _REFUSAL_SIGNS

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Call a method of the client, again and again while the server does not answer.

        Raises:
            GalleryError: the patience has ended, or the server refuses.
        """
        bound = getattr(self.client, method)
        return self.trying(method, lambda: bound(*arguments, timeout=ATTEMPT_S, **options))

    def trying(self, what: str, attempt: Callable[[], Answer]) -> Answer:
        """Make a call, again and again while the server does not answer.

        Raises:
            GalleryError: the patience has ended, or the server refuses.
        """
        end = time.monotonic() + self.address.patience_s
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                return attempt()
            except self._failures as error:
                if (refusal := _refusal(error, self._signs)) is not None:
                    raise GalleryError(f"{self.address} refuses {what}: {refusal}") from error
                if time.monotonic() + pause_s > end:
                    kind = GalleryFullError if getattr(error, "code", None) in _NOT_ITS_FAULT else GalleryError
                    raise kind(
                        f"{self.address} did not answer {what} within {self.address.patience_s:g} s: {_reason(error)}"
                    ) from error
                _log.warning("%s: %s is tried again: %s", self.address, what, _reason(error))
            # Some randomness keeps clients of one server from all coming back at the same moment.
            time.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - nothing secret
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def now(self) -> int:
        """The server's own time, later than that of every write that was acknowledged."""
        # The one thing that the client's public methods do not offer.
        return int(self.trying("the time", lambda: self.client._get_connection().alloc_timestamp(timeout=ATTEMPT_S)))

    def wrote(self) -> None:
        """Remember that this process has written: its next reads see it."""
        moment = self.now()
        with self._lock:
            self._last_write = max(self._last_write, moment)

    def recent(self, now: int) -> dict[str, Any]:
        """Options of a read that sees all this process wrote, and what others wrote ``staleness_ms`` before ``now``."""
        with self._lock:
            moment = max(self._last_write, now - (self.address.staleness_ms << _LOGICAL_BITS))
        return {"consistency_level": "Customized", "guarantee_timestamp": moment}

    def close(self) -> None:
        """Close the connection."""
        self.client.close()


EVERY_WRITE: Final[dict[str, Any]] = {"consistency_level": "Strong"}
"""Options of a read that sees every write, whoever made it."""


def all_until(moment: int) -> dict[str, Any]:
    """Options of reads that see every write that was acknowledged by a time of the server."""
    return {"consistency_level": "Customized", "guarantee_timestamp": moment}


def sequence_of(moment: int) -> int:
    """A time of the server as a snapshot number: below 2^53, so that any reader of JSON keeps it whole."""
    logical = moment & (2**_LOGICAL_BITS - 1)
    return (moment >> _LOGICAL_BITS << _KEPT_LOGICAL_BITS) | min(logical, 2**_KEPT_LOGICAL_BITS - 1)


def _transport_failures() -> tuple[type[Exception], ...]:
    import grpc

    return (grpc.RpcError, grpc.FutureTimeoutError)


def _refusal(error: BaseException, signs: Sequence[str]) -> str | None:
    """Why trying again would be of no use: the request itself, or who makes it, is what is wrong; None if it may be.

    Of a connection that fails, the client says why in an error beneath the one that it raises.
    """
    cause: BaseException | None = error
    seen: list[BaseException] = []
    while cause is not None and cause not in seen:  # the client raises some errors from themselves
        seen.append(cause)
        reason = _reason(cause)
        if getattr(cause, "code", None) in _REFUSALS or any(sign in reason.lower() for sign in signs):
            return reason
        cause = cause.__cause__
    return None


def _reason(error: BaseException) -> str:
    details = getattr(error, "details", None)
    said = getattr(error, "message", "") or (details() if callable(details) else "") or str(error)
    return str(said).splitlines()[0][:300] if said else type(error).__name__
