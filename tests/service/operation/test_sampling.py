"""The log: which lines of libraries it has, and how many of one kind."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from mien.service.operation.logs import FIELDS, SAMPLE, SAMPLE_EVERY_S, JsonFormatter, Sampling, configure


@pytest.fixture(autouse=True)
def _restore_levels() -> Iterator[None]:
    """Undo what ``configure`` does to loggers."""
    names = ("mien", "uvicorn.error", "websockets", "python_multipart", "PIL")
    levels = [logging.getLogger(name).level for name in names]
    raising = logging.raiseExceptions
    yield
    logging.raiseExceptions = raising
    logging.captureWarnings(capture=False)
    for name, level in zip(names, levels, strict=True):
        logging.getLogger(name).setLevel(level)


def record(name: str, message: str, level: int = logging.INFO, **fields: Any) -> logging.LogRecord:
    made = logging.LogRecord(name, level, "", 0, message, None, None)
    setattr(made, FIELDS, fields)
    return made


def test_lines_of_one_kind_are_sampled() -> None:
    now = [0.0]
    sampling = Sampling(lambda: now[0])

    def through(count: int, **fields: Any) -> int:
        return sum(sampling.filter(record("mien.requests", "answered", **fields)) for _ in range(count))

    assert through(100, problem="rate") == SAMPLE
    assert through(100, problem="host") == SAMPLE, "another kind"
    assert through(100, problem="unsupported-image") == 100
    assert through(100) == 100
    assert sum(sampling.filter(record("uvicorn.error", "bad", logging.WARNING)) for _ in range(100)) == SAMPLE
    assert sum(sampling.filter(record("mien.gallery", "a row", logging.WARNING)) for _ in range(100)) == 100
    now[0] = SAMPLE_EVERY_S
    next_one = record("mien.requests", "answered", problem="rate", status=429)
    assert sampling.filter(next_one)
    line = json.loads(JsonFormatter().format(next_one))
    assert (line["status"], line["left_out"]) == (429, 80)
    again = record("mien.requests", "answered", problem="rate")
    assert sampling.filter(again)
    assert "left_out" not in getattr(again, FIELDS)


def test_libraries_stay_at_warning_at_every_level(capsys: pytest.CaptureFixture[str]) -> None:
    """At debug, websockets would log the headers of its requests, keys included."""
    for level in ("debug", "info"):
        configure(level)
        for name in ("uvicorn.error", "websockets.server", "asyncio", "python_multipart.multipart", "a_library"):
            logging.getLogger(name).debug("X-API-Key: secret")
            logging.getLogger(name).info("X-API-Key: secret")
        logging.getLogger("mien.anything").debug("own line at debug")
        logging.getLogger("mien.anything").info("own line at info")
    written = capsys.readouterr().err
    assert "secret" not in written
    assert written.count("own line at debug") == 1
    assert written.count("own line at info") == 2
