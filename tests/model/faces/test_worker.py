"""The messages between the service and the program that reads pictures."""

import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest

from mien.model.errors import ImageError, NoFaceError
from mien.model.faces.detection import Detector
from mien.model.faces.reader import Face, FaceReader
from mien.model.faces.worker import _read, image_error, pack_faces, unpack_faces
from tests.support.data import ROOT

RANDOM = np.random.default_rng(0)


def face(thumbnail: bytes | None = None, *, cropped: bool = False) -> Face:
    return Face(
        (0.1, 2.0, 30.5, 1 / 3),
        None if cropped else 0.9,
        RANDOM.integers(0, 255, (48, 48), np.uint8),
        None if cropped else RANDOM.normal(size=(5, 2)).astype(np.float32),
        0.25,
        thumbnail,
    )


def test_faces_are_the_same_on_the_other_side() -> None:
    faces = [face(b"one"), face(), face(b"", cropped=True)]
    for found, sent in zip(unpack_faces(*pack_faces(faces)), faces, strict=True):
        for field in fields(Face):
            np.testing.assert_array_equal(getattr(found, field.name), getattr(sent, field.name), err_msg=field.name)
        assert found.crop.dtype == np.uint8
        assert found.landmarks is None or found.landmarks.dtype == np.float32


@pytest.mark.parametrize(
    "change",
    [{"box": [0, 0, float("nan"), 1]}, {"thumbnail": 7}, {"landmarks": [[1, 2]]}, {"outside": float("inf")}],
)
def test_faces_of_another_form_are_refused(change: dict[str, object]) -> None:
    (value,), body = pack_faces([face()])
    with pytest.raises(ValueError, match=r"finite|bytes|reshape"):
        unpack_faces([{**value, **change}], body)


def test_errors_of_images_keep_their_kind() -> None:
    for kind in ImageError.__subclasses__():
        error = image_error(kind.__name__, "why")
        assert (type(error), str(error)) == (kind, "why")
    assert isinstance(image_error("NoFaceError", ""), NoFaceError)
    with pytest.raises(ValueError, match="got SystemExit"):
        image_error("SystemExit", "")


def test_memory_of_a_process_is_limited_beyond_what_it_has() -> None:
    script = """
from mien.model.sandbox import allow_memory
allow_memory(30 * 2**20)
bytearray(10 * 2**20)
try:
    bytearray(60 * 2**20)
except MemoryError:
    allow_memory(90 * 2**20)
    bytearray(60 * 2**20)
    print("refused, then allowed")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "refused, then allowed\n"


def test_picture_that_runs_out_of_memory_is_too_large_and_the_last_of_its_process() -> None:
    class Greedy(FaceReader):
        def read_faces(self, *_: object, **__: object) -> list[Face]:
            raise MemoryError

    reply, body = _read(Greedy(Detector()), {"options": {}}, b"")
    assert (reply["error"], reply["is_last"], body) == ("ImageTooLargeError", True, b"")
