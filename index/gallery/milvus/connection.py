"""The connection to a Milvus server: calls that it did not answer are made again, and all its clients share its clock.

A call that a server did not answer, because it is being restarted or moved, is made again until the address's patience
ends. Every call of a gallery may be made twice: what is written has an id, and is written over itself.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from mien.index.errors import GalleryError, GalleryFullError
from mien.index.gallery.milvus.address import MilvusAddress
from mien.model.errors import ConfigError

Answer = TypeVar("Answer")

ATTEMPT_S: Final = 20.0
"""How long one attempt of a call may take."""

_FIRST_PAUSE_S: Final = 0.05
_MAX_PAUSE_S: Final = 2.0

_LOGICAL_BITS: Final = 18
_KEPT_LOGICAL_BITS: Final = 10

_OVERLOAD_CODES: Final = frozenset({8, 9})
"""Milvus's codes for "too fast" and "no more writes for now"."""

_REFUSAL_CODES: Final = frozenset({1100, 1101, 1400, 1401, 1601, 1602})
"""Milvus's codes for invalid requests, missing permissions, and aliases that exist already."""

_REFUSAL_SIGNS: Final = ("cannot parse expression", "permission deny")
_LOGIN_SIGNS: Final = ("unauthenticated", "auth check failure")
"""Refusals of a login. Later a server answers so, too, while it restarts and does not know its users yet."""

_log = logging.getLogger(__name__)


class MilvusConnection:
    """A client of one server that tries again. Thread-safe.

    Attributes:
        address: of the server and the collection.
        client: pymilvus's.
    """

    def __init__(self, address: MilvusAddress) -> None:
        """Connect.

        Raises:
            ConfigError: the client is not installed.
            GalleryError: the server does not answer, or refuses the user.
        """
        try:
            import tenacity  # noqa: F401 - of the same extra
            from pymilvus import MilvusClient, MilvusException
        except ImportError:
            raise ConfigError(
                f"{address} is a distributed gallery, whose client is not installed: pip install 'mien[distributed]'"
            ) from None
        # The client logs each failed attempt with a traceback; here it is raised, or tried again.
        for name in [name for name in logging.root.manager.loggerDict if name.split(".")[0] == "pymilvus"]:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self.address = address
        self._failures: tuple[type[Exception], ...] = (MilvusException, *_transport_failures())
        self._lock = threading.Lock()
        self._last_write = 0
        self._signs: tuple[str, ...] = (*_REFUSAL_SIGNS, *_LOGIN_SIGNS)
        self.client: Any = self.retry(
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
        return self.retry(method, lambda: bound(*arguments, timeout=ATTEMPT_S, **options))

    def retry(self, name: str, attempt: Callable[[], Answer]) -> Answer:
        """Make a call, again and again while the server does not answer.

        Args:
            name: of the call, for messages.
            attempt: makes the call.

        Raises:
            GalleryError: the patience has ended, or the server refuses.
        """
        from tenacity import RetryCallState, Retrying, retry_if_exception, stop_before_delay, wait_random_exponential

        def log_failure(state: RetryCallState) -> None:
            failure = state.outcome.exception() if state.outcome is not None else None
            _log.warning("%s: %s is tried again: %s", self.address, name, failure and _reason(failure))

        retrying = Retrying(
            retry=retry_if_exception(self._is_transient),
            # Random pauses keep clients of one server from all coming back at the same moment.
            wait=wait_random_exponential(multiplier=_FIRST_PAUSE_S, max=_MAX_PAUSE_S),
            stop=stop_before_delay(self.address.patience_s),
            before_sleep=log_failure,
            reraise=True,
        )
        try:
            return retrying(attempt)
        except self._failures as error:
            if (refusal := _refusal(error, self._signs)) is not None:
                raise GalleryError(f"{self.address} refuses {name}: {refusal}") from error
            kind = GalleryFullError if getattr(error, "code", None) in _OVERLOAD_CODES else GalleryError
            raise kind(
                f"{self.address} did not answer {name} within {self.address.patience_s:g} s: {_reason(error)}"
            ) from error

    def now(self) -> int:
        """The server's time, later than that of every write that it has acknowledged."""
        # The one call that the client's public methods do not offer.
        return int(self.retry("the time", lambda: self.client._get_connection().alloc_timestamp(timeout=ATTEMPT_S)))

    def note_write(self) -> None:
        """Remember that this process has written: its next reads see it."""
        moment = self.now()
        with self._lock:
            self._last_write = max(self._last_write, moment)

    def recent(self, now: int) -> dict[str, Any]:
        """Options of a read that sees all this process wrote, and what others wrote ``staleness_ms`` before ``now``."""
        with self._lock:
            moment = max(self._last_write, now - (self.address.staleness_ms << _LOGICAL_BITS))
        return all_until(moment)

    def close(self) -> None:
        """Close the connection."""
        self.client.close()

    def _is_transient(self, error: BaseException) -> bool:
        return isinstance(error, self._failures) and _refusal(error, self._signs) is None


EVERY_WRITE: Final[dict[str, Any]] = {"consistency_level": "Strong"}
"""Options of a read that sees every write of every process."""


def all_until(moment: int) -> dict[str, Any]:
    """Options of a read that sees every write that was acknowledged by a time of the server."""
    return {"consistency_level": "Customized", "guarantee_timestamp": moment}


def sequence_of(moment: int) -> int:
    """A time of the server as a snapshot number: below 2^53, so that any reader of JSON keeps it whole."""
    logical = moment & (2**_LOGICAL_BITS - 1)
    return (moment >> _LOGICAL_BITS << _KEPT_LOGICAL_BITS) | min(logical, 2**_KEPT_LOGICAL_BITS - 1)


def _transport_failures() -> tuple[type[Exception], ...]:
    import grpc

    return (grpc.RpcError, grpc.FutureTimeoutError)


def _refusal(error: BaseException, signs: Sequence[str]) -> str | None:
    """Why trying again would not help: the request, or its user, is at fault; None if trying again may help.

    If a connection fails, the client has the reason in the cause of the error that it raises.
    """
    cause: BaseException | None = error
    seen: list[BaseException] = []
    while cause is not None and cause not in seen:  # the client raises some errors from themselves
        seen.append(cause)
        reason = _reason(cause)
        if getattr(cause, "code", None) in _REFUSAL_CODES or any(sign in reason.lower() for sign in signs):
            return reason
        cause = cause.__cause__
    return None


def _reason(error: BaseException) -> str:
    details = getattr(error, "details", None)
    message = getattr(error, "message", "") or (details() if callable(details) else "") or str(error)
    return str(message).splitlines()[0][:300] if message else type(error).__name__
