"""The log, on standard error: one JSON object per line, or in a terminal one readable line.

It has no images, file names, queries or embeddings: only the fields below, and messages that say what happened.
"""

import json
import logging
import traceback
import warnings
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Id of the request that is being answered."""

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


def _is_not_about_websockets(record: logging.LogRecord) -> bool:
    """Drop uvicorn's lines about WebSockets: they have addresses and queries, and RequestLog writes its own."""
    return '"WebSocket ' not in str(record.msg)


def configure(level: str) -> None:
    """Log to standard error from ``level`` on: in a terminal as lines for a person, else as JSON."""
    handler = logging.StreamHandler()
    in_terminal = handler.stream.isatty()
    handler.setFormatter(TerminalFormatter() if in_terminal else JsonFormatter())
    if in_terminal and level == "info":  # the service says itself that it has started
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    # Libraries that read uploads quote them in their messages.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    logging.getLogger("uvicorn.error").addFilter(_is_not_about_websockets)
    logging.getLogger("PIL").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"PIL\..*")
