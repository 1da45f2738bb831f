"""Reads the faces of images in another process, which is replaced if a file ends it: for one caller at a time."""

import signal
import socket
from contextlib import suppress
from io import BufferedRWPair
from typing import Any, Final

from mien.model.errors import BrokenImageError, DetectorError, ImageError, ImageTooLargeError
from mien.model.faces.decoding import DecodingLimits
from mien.model.faces.reader import Face
from mien.model.faces.worker import WorkerOptions, image_error, unpack_faces
from mien.model.sandbox import read_message, start_program, write_message

PROGRAM: Final = "mien.model.faces.worker"


class SandboxedReader:
    """Reads the faces of images as a ``FaceReader`` with the same limits does.

    Attributes:
        limits: of an image.
    """

    def __init__(self, options: WorkerOptions) -> None:
        """Start the process.

        Raises:
            DetectorError: it does not start, as the detector cannot be used.
        """
        self.limits = DecodingLimits(**options["limits"])
        self._options = options
        self._start()

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self._process = start_program(PROGRAM, stdin=theirs)
            self._stream: BufferedRWPair = ours.makefile("rwb")
        reply = self._exchange({"options": self._options}, b"")
        if reply is None or "failed" in reply[0]:
            status = self.close()
            raise DetectorError(f"the process that reads pictures does not start: {reply[0] if reply else status}")

    def read_faces(self, data: bytes, *, already_cropped: bool = False, thumbnails: int = 0) -> list[Face]:
        """Find and cut out the faces of an image file, as ``FaceReader.read_faces`` does.

        Raises:
            ImageError: also where the file takes more memory or CPU time than it may, or the decoder crashes.
        """
        if self._process.poll() is not None:
            self.close()
            self._start()
        reply = self._exchange({"options": {"already_cropped": already_cropped, "thumbnails": thumbnails}}, data)
        if reply is None:
            raise cause_of_end(self.close(), self._options["max_cpu_s"])
        header, body = reply
        if header.get("last") or "bug" in header:
            self.close()
        if "bug" in header:
            raise RuntimeError(header["bug"])
        if "error" in header:
            raise image_error(header["error"], header["detail"])
        return unpack_faces(header["faces"], body)

    def close(self) -> int:
        """End the process; returns its exit status."""
        with suppress(OSError):
            self._stream.close()
        self._process.kill()
        return self._process.wait()

    def _exchange(self, header: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes] | None:
        """The reply to a message; None where the process ends."""
        try:
            write_message(self._stream, header, body)
            return read_message(self._stream)
        except OSError:
            return None


def cause_of_end(status: int, max_cpu_s: float) -> ImageError:
    """Why a picture ended its process, by the exit status."""
    if status == -signal.SIGPROF:
        return ImageTooLargeError(
            f"expected an image that takes at most {max_cpu_s:g} s of a core, got one that takes longer"
        )
    return BrokenImageError("expected a whole image, got one on which the decoder fails")
