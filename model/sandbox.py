"""Programs that work on untrusted files, apart from the process that starts them.

Such a program gets no environment, writes no files, and its memory is limited. It is spoken to in messages: the length
of a line of JSON (4 bytes, big-endian), the line, and as many bytes as its field ``bytes`` says. It ends when the
other end of the connection does. Nothing here needs more than the standard library.
"""

import fcntl
import json
import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from io import BufferedRWPair
from pathlib import Path
from typing import IO, Any, Final

Stream = IO[bytes] | BufferedRWPair

_RUN: Final = (
    "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); runpy.run_module(sys.argv.pop(1), None, '__main__')"
)

PIPE_BYTES: Final = 2**20
"""Of the pipe of a program's output, on Linux: a frame of a video goes through it in one step, not in 64 KiB steps."""

_KEPT: Final = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""Variables of the environment that a library may need to be found."""


def start_program(module: str, *, stdin: Any, stdout: Any = subprocess.DEVNULL) -> "subprocess.Popen[bytes]":
    """Start a module of mien as a program: isolated, without the environment, in a session of its own.

    Args:
        module: its full name.
        stdin: as of ``subprocess.Popen``.
        stdout: as of ``subprocess.Popen``.
    """
    folder = str(Path(__file__).parents[2])  # that of the package mien, which an isolated Python need not find
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    process = subprocess.Popen(  # noqa: S603 the program and its arguments are written here
        [sys.executable, "-I", "-c", _RUN, folder, module],
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        env=one_thread | {name: os.environ[name] for name in _KEPT if name in os.environ},
        start_new_session=True,
    )
    if sys.platform == "linux" and process.stdout is not None:
        with suppress(OSError):  # the user has too many large pipes
            fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return process


def limit_resources(*, memory_bytes: int | None = None, cpu_s: int | None = None) -> None:
    """Limit this process for good: it writes no files, leaves no core, and takes no more than the given.

    Args:
        memory_bytes: of address space.
        cpu_s: of CPU time.
    """
    limits = {
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_CPU: cpu_s,
    }
    for what, limit in limits.items():
        if limit is not None:
            resource.setrlimit(what, (limit, limit))


def allow_memory(more_bytes: int) -> None:
    """Limit the address space of this process to what it has now and ``more_bytes``, until the next call.

    Does nothing where the system does not tell how much a process has.
    """
    if mapped := mapped_bytes():
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        soft = mapped + more_bytes
        resource.setrlimit(resource.RLIMIT_AS, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def mapped_bytes() -> int:
    """The address space of this process; 0 where the system does not tell it."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def message_head(header: Mapping[str, Any], body_bytes: int) -> bytes:
    """The beginning of a message, which its body follows."""
    line = json.dumps({**header, "bytes": body_bytes}).encode()
    return len(line).to_bytes(4, "big") + line


def write_message(stream: Stream, header: Mapping[str, Any], body: bytes | memoryview = b"") -> None:
    """Write a message."""
    stream.write(message_head(header, len(body)))
    stream.write(body)
    stream.flush()


def read_message(stream: Stream) -> tuple[dict[str, Any], bytes] | None:
    """The next message; None at the end of the stream."""
    length = stream.read(4)
    if len(length) < 4:
        return None
    header: dict[str, Any] = json.loads(stream.read(int.from_bytes(length, "big")))
    return header, stream.read(header["bytes"])
