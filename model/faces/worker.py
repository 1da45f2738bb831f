"""The program that reads the faces of pictures, so that no decoder runs on untrusted files inside the service.

``mien.service.inference.reader_pool`` starts it (``mien.model.sandbox``). It is sent its ``WorkerOptions``, replies
once it is ready, and then is sent one picture after the other. A hostile file can do little here: a picture has a
budget of memory, by what its head asks for, and one of CPU time; the system ends with SIGPROF what exceeds that.
"""

import math
import os
import signal
import socket
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, TypedDict

import numpy as np

from mien.model.errors import ImageError, ImageTooLargeError
from mien.model.faces.alignment import SIDE_PX
from mien.model.faces.decoding import DecodingLimits, decode
from mien.model.faces.detection import Detector
from mien.model.faces.heads import read_head
from mien.model.faces.reader import Face, FaceReader, Stage
from mien.model.sandbox import allow_memory, limit_resources, mapped_bytes, read_message, write_message

REST_BYTES: Final = 256 * 2**20
"""Memory for a picture beyond what its head asks for: that of finding faces, and a margin."""

WARM_BYTES: Final = 512 * 2**20
"""A worker that keeps more address space than this from pictures it has read ends, and another one takes its place."""


class WorkerOptions(TypedDict):
    """What a worker reads with: the fields of ``DecodingLimits``, and the rest of a ``FaceReader``.

    ``max_cpu_s`` is the CPU time that one picture may take, in seconds.
    """

    detector: str | None
    max_faces: int | None
    limits: dict[str, int]
    max_cpu_s: float


class StageTime(NamedTuple):
    """When a stage began (nanoseconds since 1970), and how long it took."""

    stage: Stage
    began_ns: int
    seconds: float


def pack_faces(faces: Sequence[Face]) -> tuple[list[dict[str, Any]], bytes]:
    """Faces as JSON values, and the bytes of their crops and thumbnails."""
    values = [
        {
            "box": face.box,
            "detection": face.detection,
            "landmarks": None if face.landmarks is None else face.landmarks.tolist(),
            "outside": face.outside,
            "thumbnail": None if face.thumbnail is None else len(face.thumbnail),
        }
        for face in faces
    ]
    return values, b"".join([face.crop.tobytes() for face in faces] + [face.thumbnail or b"" for face in faces])


def unpack_faces(values: Sequence[dict[str, Any]], body: bytes) -> list[Face]:
    """The faces that ``pack_faces`` packed.

    Raises:
        ValueError: they are not as it packs them: the worker is not to be trusted any more.
    """
    side_bytes = SIDE_PX * SIDE_PX
    crops, at = np.frombuffer(body, np.uint8, len(values) * side_bytes), len(values) * side_bytes
    faces = []
    for value, crop in zip(values, crops.reshape(-1, SIDE_PX, SIDE_PX), strict=True):
        end = at + (value["thumbnail"] or 0)
        landmarks = None if value["landmarks"] is None else np.array(value["landmarks"], np.float32).reshape(5, 2)
        x, y, width, height = (float(number) for number in value["box"])
        detection = None if value["detection"] is None else float(value["detection"])
        numbers = (x, y, width, height, detection or 0.0, float(value["outside"]))
        if not all(map(math.isfinite, numbers)) or (landmarks is not None and not np.isfinite(landmarks).all()):
            raise ValueError("expected finite numbers")
        thumbnail = None if value["thumbnail"] is None else body[at:end]
        faces.append(Face((x, y, width, height), detection, crop, landmarks, numbers[-1], thumbnail))
        at = end
    if at != len(body):
        raise ValueError(f"expected {at} bytes of crops and thumbnails, got {len(body)}")
    return faces


def image_error(name: str, detail: str) -> ImageError:
    """The error of a reply.

    Raises:
        ValueError: it is no error of an image.
    """
    kinds = {kind.__name__: kind for kind in ImageError.__subclasses__()}
    if name not in kinds:
        raise ValueError(f"expected an error of an image, got {name}")
    return kinds[name](detail)


def main() -> None:
    """Read pictures until the connection ends."""
    stream = socket.socket(fileno=os.dup(0)).makefile("rwb")
    first = read_message(stream)
    if first is None:
        return
    options: WorkerOptions = first[0]["options"]
    limit_resources()
    detector = None if options["detector"] is None else Path(options["detector"])
    try:
        reader = FaceReader(Detector(detector), DecodingLimits(**options["limits"]), options["max_faces"])
        reader.crop_faces(np.full((240, 320, 3), 127, np.uint8))
    except Exception as error:  # noqa: BLE001  the service logs it
        write_message(stream, {"failed": str(error)})
        return
    write_message(stream, {"ready": True})
    warm_bytes = mapped_bytes() + WARM_BYTES
    is_last = False
    while not is_last and (message := read_message(stream)) is not None:
        signal.setitimer(signal.ITIMER_PROF, options["max_cpu_s"])
        allow_memory(_memory_bytes(message[1]) + REST_BYTES)
        reply, body = _read(reader, *message)
        signal.setitimer(signal.ITIMER_PROF, 0)
        allow_memory(2 * options["limits"]["max_bytes"] + REST_BYTES)  # for the reply and the next picture
        is_last = reply.pop("is_last", False) or mapped_bytes() > warm_bytes
        write_message(stream, {**reply, "last": is_last}, body)
        del message, body


def _memory_bytes(data: bytes) -> int:
    """What the head of a file asks for; one that is not in order is refused without any."""
    try:
        head = read_head(data)
    except ImageError:
        return 0
    return 0 if head is None else head.memory_bytes


def _read(reader: FaceReader, request: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    """The reply to a request; ``is_last`` in it says that this process should not be trusted with another one."""
    times: list[StageTime] = []

    @contextmanager
    def timed(stage: Stage) -> Iterator[None]:
        began_ns, began = time.time_ns(), time.perf_counter()
        try:
            yield
        finally:
            times.append(StageTime(stage, began_ns, time.perf_counter() - began))

    try:
        if "decode" in request:
            with timed("decode"):
                image = decode(data, reader.limits)
            return {"shape": image.shape[:2], "times": times}, image.tobytes()
        faces, body = pack_faces(reader.read_faces(data, timed=timed, **request["options"]))
    except ImageError as error:
        return {"error": type(error).__name__, "detail": str(error), "times": times}, b""
    except MemoryError:
        detail = "expected an image that takes as much memory as its head says, got one that takes more"
        return {"error": ImageTooLargeError.__name__, "detail": detail, "times": times, "is_last": True}, b""
    except Exception:  # noqa: BLE001  a bug: the service logs it
        return {"bug": traceback.format_exc(), "is_last": True}, b""
    return {"faces": faces, "times": times}, body


if __name__ == "__main__":
    main()
