"""A supervisor over processes that do next to nothing.

``python -m tests.support.supervised PORT KIND``; KIND is dies, sleeps or killed.
"""

import os
import signal
import socket
import sys
import time
from pathlib import Path

from mien.service.operation.supervisor import serve_in_processes
from mien.service.settings import Settings


def serve_one(settings: Settings, _: socket.socket | None) -> None:
    """Tell one's process number, and then end, sleep, or end by the signal of a full temporary folder."""
    kind = sys.argv[2]
    sys.stdout.write(f"{os.getpid()} {time.monotonic()}\n")
    sys.stdout.flush()
    if kind == "killed":
        os.kill(os.getpid(), signal.SIGBUS)
    if kind == "sleeps":
        time.sleep(settings.timeout_s)
    sys.exit(7)


def main() -> int:
    """Run the supervisor."""
    settings = Settings(port=int(sys.argv[1]), processes=2, timeout_s=60, bundle=Path())
    return serve_in_processes(settings, serve_one)


if __name__ == "__main__":
    sys.exit(main())
