"""``mien serve`` says what it serves, and what to do where it cannot."""

import json
import logging
import os
import pty
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mien.model.errors import ConfigError
from mien.service.commands.main import main
from mien.service.operation.logs import FIELDS, TerminalFormatter
from mien.service.operation.supervisor import address_of
from mien.service.server import check_port, possible_connections
from tests.support.data import ROOT
from tests.support.serving import MIEN, environment_without_settings, served_process


def test_port_in_use_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        for processes in ("1", "2"):
            assert main(["serve", "--port", str(port), "--processes", processes]) == 1
            (line,) = capsys.readouterr().err.splitlines()
            assert f"cannot listen on port {port} of 127.0.0.1: another program listens there" in line
            assert "--port (0 takes a free one)" in line
    check_port("127.0.0.1", port)


def test_host_of_another_machine_is_refused() -> None:
    for host in ("192.0.2.1", "nowhere.invalid"):
        with pytest.raises(ConfigError, match="--host must be an address of this machine"):
            check_port(host, 0)


def test_address_is_that_of_a_browser() -> None:
    assert address_of("127.0.0.1", 8000) == "http://127.0.0.1:8000"
    assert address_of("::1", 80) == "http://[::1]:80"


def test_limit_of_files_is_raised_for_the_connections() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (400, before[1]))
        assert possible_connections(500) == 500
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 500
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_line_in_a_terminal_is_for_a_person() -> None:
    record = logging.LogRecord("mien.requests", logging.INFO, "", 0, "answered", None, None)
    setattr(record, FIELDS, {"method": "POST", "route": "/classify", "status": 200, "ms": 12.5})
    assert TerminalFormatter().format(record).endswith(" answered POST /classify 200 12.5")
    try:
        int("what a request had")
    except ValueError:
        failed = logging.LogRecord("mien", logging.ERROR, "", 0, "failed", None, sys.exc_info())
    line = TerminalFormatter().format(failed)
    assert "error: failed: ValueError at " in line
    assert "what a request had" not in line


@pytest.mark.system
def test_log_without_a_terminal_is_json_with_the_address() -> None:
    with served_process() as served:
        served.terminate()
        lines = [json.loads(line) for line in served.log().splitlines()]
    (serving,) = [line for line in lines if line["message"] == "serving"]
    assert serving["address"] == served.url
    assert serving["faces"] > 1000
    assert Path(serving["bundle"]).name == "default_bundle"


@pytest.mark.system
def test_terminal_gets_one_readable_line() -> None:
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [MIEN, "serve", "--port", "0", "--drain-s", "0"],
        stdout=subprocess.DEVNULL,
        stderr=end,
        env=environment_without_settings() | {"TERM": "dumb", "COLUMNS": "300"},
        cwd=ROOT,
    )
    os.close(end)
    text = ""
    try:
        while "\n" not in text:
            text += os.read(terminal, 4096).decode()
    finally:
        process.terminate()
        process.wait(timeout=20)
        os.close(terminal)
    line = text.splitlines()[0]
    assert line.startswith("mien serves http://127.0.0.1:")
    assert "default_bundle and the faces that ship with it (" in line
    assert line.endswith("Ctrl+C stops it")
