"""The log, on standard error: one JSON object per line, or in a terminal one readable line.

It has no images, file names, queries or embeddings: only the fields below, and messages that say what happened.
"""

import json
import logging
import os
import select
import stat
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final, TextIO

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Id of the request that is being answered."""

SAMPLE: Final = 20
"""Lines of one kind that are logged in each span of ``SAMPLE_EVERY_S``."""

SAMPLE_EVERY_S: Final = 10.0

_REQUESTS: Final = "mien.requests"

_SAMPLED: Final = ("mien.connections", "mien.problems", "uvicorn", "websockets", "asyncio", "py.warnings")
"""Loggers of what any request or connection can cause."""

_REFUSALS: Final = frozenset({"rate", "no-key", "scope", "host", "origin", "malformed-head", "busy", "not-ready"})
"""Problems of requests that are refused before they cost much."""

_MOST_KINDS: Final = 1000

FIELDS: Final = "fields"
"""Key of a record's further fields: ``log.info("...", extra={FIELDS: {...}})``."""


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON.

    An exception is logged with its type and traceback, not its message, which may quote the request.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line, without a line feed."""
        moment = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        current = request_id.get()
        if current is not None:
            line["request_id"] = current
        line |= getattr(record, FIELDS, {})
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            line["raised_at"] = [
                f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(record.exc_info[2])
            ]
        return json.dumps(line, ensure_ascii=False)


class TerminalFormatter(logging.Formatter):
    """A record as one line for a person: the time of day, the message, and the fields without their names."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; after an exception, also where it was raised."""
        moment = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        level = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        fields = " ".join(str(value) for value in getattr(record, FIELDS, {}).values())
        line = f"{moment} {level}{record.getMessage()} {fields}".rstrip()
        if record.exc_info and record.exc_info[0] is not None:
            frame = traceback.extract_tb(record.exc_info[2])[-1]
            line += f": {record.exc_info[0].__name__} at {frame.filename}:{frame.lineno}"
        return line


class Sampling(logging.Filter):
    """Lets some records of each kind through, and says with the next one how many it left out since.

    Refusals, and warnings of the server, can be caused by anybody and as often as they like, and would fill the disk.
    Lines about other requests are all let through.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Sample by ``clock``, seconds."""
        super().__init__()
        self._clock = clock
        self._kinds: dict[tuple[str, str], list[float]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is logged."""
        fields = getattr(record, FIELDS, {})
        problem = str(fields.get("problem", ""))
        if record.name == _REQUESTS and record.levelno < logging.WARNING and problem not in _REFUSALS:
            return True
        if record.name != _REQUESTS and not record.name.startswith(_SAMPLED):
            return True
        if len(self._kinds) > _MOST_KINDS:
            self._kinds.clear()
        kind = problem or str(record.msg), str(fields.get("reason", ""))
        now = self._clock()
        window = self._kinds.setdefault(kind, [now, 0, 0])
        if now - window[0] >= SAMPLE_EVERY_S:
            window[:2] = [now, 0]
        if window[1] >= SAMPLE:
            window[2] += 1
            return False
        window[1] += 1
        if window[2]:
            setattr(record, FIELDS, {**fields, "left_out": int(window[2])})
            window[2] = 0
        return True


class StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to standard error; drops lines for which a pipe has no room, as waiting for its reader would block all."""

    def __init__(self) -> None:
        """Write to what standard error is now."""
        super().__init__()
        self._pipe: select.poll | None = None
        with suppress(OSError, ValueError):  # a stream without a file
            descriptor = self.stream.fileno()
            if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                self._pipe = select.poll()
                self._pipe.register(descriptor, select.POLLOUT)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, if that does not block."""
        if self._pipe is None or self._pipe.poll(0):
            super().emit(record)


def configure(level: str) -> None:
    """Log to standard error: in a terminal as lines for a person, else as JSON.

    Only mien's own lines begin at ``level``: at ``debug``, libraries would log headers, and with them keys.
    """
    handler = StderrHandler()
    in_terminal = handler.stream.isatty()
    handler.setFormatter(TerminalFormatter() if in_terminal else JsonFormatter())
    handler.addFilter(Sampling())
    logging.raiseExceptions = False  # a line that cannot be written, as the disk is full, is left out
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("mien").setLevel(level.upper())
    logging.captureWarnings(capture=True)
    for name in ("uvicorn.error", "websockets"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Libraries that read uploads quote them in their messages.
    for name in ("python_multipart", "PIL"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"PIL\..*")
