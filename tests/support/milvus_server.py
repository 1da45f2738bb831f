"""A real Milvus server for the tests: the standalone binary that the package ``milvus`` carries, on this machine.

It has its own environment, ``.venv-milvus`` beside the checkout's ``.venv`` (``make milvus``), because the package pins
an old client. Its data are in a folder of the test session, which is deleted at the end.
"""

import atexit
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from tests.support.data import ROOT
from tests.support.serving import free_ports

MILVUS_ENVIRONMENT: Final = ROOT / ".venv-milvus"

_FASTER: Final = {
    "proxy.timeTickInterval": 50,  # ms, by default 200: a read of every write waits so long
    "common.session.ttl": 10,  # s, by default 30: a killed server serves its collections again after so long
}
"""Settings that make the tests wait less than the defaults."""

_START_S: Final = 180.0


class MilvusServer:
    """One server, with its data in a folder. It keeps its address through restarts."""

    def __init__(self, folder: Path, *, token: str = "") -> None:
        """Keep the data in a folder; with a token (name and password), clients need it."""
        self._folder = folder
        self._token = token
        self._program = MILVUS_ENVIRONMENT / "bin" / "milvus-server"
        self._binaries = MILVUS_ENVIRONMENT / "server"
        self._process: subprocess.Popen[bytes] | None = None
        self.port, self._etcd_port, self._etcd_peer_port = free_ports(3)

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start, and wait until requests are answered."""
        self._folder.mkdir(parents=True, exist_ok=True)
        # The package unpacks 400 MB of binaries into the data folder: once for all sessions is enough.
        self._binaries.mkdir(exist_ok=True)
        with suppress(FileExistsError):
            (self._folder / "bin").symlink_to(self._binaries, target_is_directory=True)
        # The package sets one of etcd's two ports: the other would be the same for every server of a machine.
        client, peer = (f"http://127.0.0.1:{port}" for port in (self._etcd_port, self._etcd_peer_port))
        etcd = self._folder / "etcd.json"
        etcd.write_text(
            json.dumps(
                {
                    "name": "default",
                    "listen-client-urls": client,
                    "advertise-client-urls": client,
                    "listen-peer-urls": peer,
                    "initial-advertise-peer-urls": peer,
                    "initial-cluster": f"default={peer}",
                }
            )
        )
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(self._program),
                    *("--data", str(self._folder)),
                    *("--proxy-port", str(self.port)),
                    *("--etcd-port", str(self._etcd_port)),
                    *(word for name, value in _FASTER.items() for word in ("--extra-config", f"{name}={value}")),
                ],
                stdout=log,
                stderr=log,
                env=os.environ
                | {
                    "ETCD_CONFIG_PATH": str(etcd),
                    "COMMON_SECURITY_AUTHORIZATIONENABLED": "true" if self._token else "false",
                },
                start_new_session=True,
            )
        self.wait()

    def wait(self) -> None:
        """Wait until requests are answered."""
        from pymilvus import MilvusClient, MilvusException

        end = time.monotonic() + _START_S
        while True:
            try:
                client = MilvusClient(f"http://{self.address}", token=self._token, timeout=5)
                client.list_collections(timeout=5)
                client.close()
            except MilvusException as error:
                if self._process is None or self._process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"the Milvus server did not start; see {self._folder}") from error
                time.sleep(0.2)
            else:
                return

    def kill(self) -> None:
        """Kill it, as a failing machine would."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@cache
def shared_server() -> MilvusServer:
    """One server for all tests that leave it running; it is killed with the session."""
    folder = Path(tempfile.mkdtemp(prefix="mien-milvus-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return start_server(folder)


def start_server(folder: Path, *, token: str = "") -> MilvusServer:
    """A running server; skips the test where none is installed."""
    if not (MILVUS_ENVIRONMENT / "bin" / "milvus-server").is_file():
        pytest.skip("needs a Milvus server: `make milvus` installs it into .venv-milvus")
    server = MilvusServer(folder, token=token)
    atexit.register(server.kill)
    server.start()
    return server
