"""The messages between the service and the program that reads pictures."""

from dataclasses import fields

import numpy as np
import pytest

from mien.model.errors import ImageError, NoFaceError
from mien.model.faces.reader import Face
from mien.model.faces.worker import image_error, pack_faces, unpack_faces

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
