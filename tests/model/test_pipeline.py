from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.index.bundle.default import default_bundle
from mien.index.bundle.manifest import EMBEDDER
from mien.model.errors import ImageTooLargeError, NoFaceError
from mien.model.faces.decoding import DecodingLimits, decode
from mien.model.pipeline import Pipeline, load_pipeline
from tests.support.cartoon import cartoon
from tests.support.faces import MakeFaces
from tests.support.images import encode


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return load_pipeline(default_bundle() / EMBEDDER, provider="cpu")


def test_training_crop_reaches_the_network_bit_for_bit(pipeline: Pipeline, make_faces: MakeFaces) -> None:
    """Uploaded crops give the embeddings of the crops that the index is built from."""
    crops = make_faces(5).images
    for crop in crops:
        (face,) = pipeline.read_faces(encode(crop), already_cropped=True)
        assert (face.crop == crop).all()
        assert face.detection is None
        np.testing.assert_allclose(pipeline.embed([face]), pipeline.embedder.embed(crop[None]), atol=1e-5)


def test_image_without_a_face_is_refused(pipeline: Pipeline) -> None:
    with pytest.raises(NoFaceError, match=r"no face was found in the image of 64x32 .*pass it as already cropped"):
        pipeline.read_faces(encode(np.zeros((32, 64, 3), dtype=np.uint8)))


def test_limits_are_checked() -> None:
    small = load_pipeline(default_bundle() / EMBEDDER, limits=DecodingLimits(max_pixels=100), provider="cpu")
    with pytest.raises(ImageTooLargeError):
        small.read_faces(encode(np.zeros((11, 10), dtype=np.uint8)), already_cropped=True)


def test_faces_of_a_photograph_come_largest_first(pipeline: Pipeline, london_root: Path) -> None:
    large = Image.open(london_root / "happiness" / "001.jpg").resize((600, 600))
    small = Image.open(london_root / "neutral" / "006.jpg").resize((300, 300))
    sheet = Image.new("RGB", (1000, 600), "white")
    sheet.paste(small, (0, 0))
    sheet.paste(large, (400, 0))
    faces = pipeline.read_faces(encode(np.asarray(sheet)))
    assert len(faces) == 2
    areas = [face.box[2] * face.box[3] for face in faces]
    assert areas[0] > areas[1]
    assert faces[0].box[0] > 400
    assert pipeline.embed(faces).shape == (2, 64)

    only = load_pipeline(default_bundle() / EMBEDDER, max_faces=1, provider="cpu")
    assert [face.box for face in only.read_faces(encode(np.asarray(sheet)))] == [faces[0].box]


def photograph(side: int) -> bytes:
    """A JPEG of 12 megapixels with a face of ``side`` pixels."""
    sheet = Image.new("RGB", (4000, 3000), (90, 120, 150))
    sheet.paste(Image.fromarray(cartoon(side)), (700, 400))
    buffer = BytesIO()
    sheet.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


@pytest.mark.parametrize(("side", "decoded"), [(2400, 1), (600, 1), (160, 3)])
def test_large_photograph_is_reduced_unless_its_face_is_small(pipeline: Pipeline, side: int, decoded: int) -> None:
    data = photograph(side)
    stages: list[str] = []

    @contextmanager
    def timed(stage: str) -> Iterator[None]:
        stages.append(stage)
        yield

    (found,) = pipeline.read_faces(data, timed=timed)
    (exact,) = pipeline.crop_faces(decode(data))
    assert stages[:3] == ["decode", "decode", "detect"]  # the header, and the picture at a fraction of its size
    assert stages.count("decode") <= 1 + decoded
    assert (stages.count("decode") == 2) == (decoded == 1)
    np.testing.assert_allclose(found.box, exact.box, atol=0.06 * exact.box[2])
    embeddings = pipeline.embed([found, exact])
    # The small drawing is cut out of a smaller picture. Centroids are 2.4 to 3.9 apart.
    assert np.linalg.norm(embeddings[0] - embeddings[1]) < (0.3 if decoded == 1 else 0.8)


def test_large_photograph_without_a_face_is_refused(pipeline: Pipeline) -> None:
    buffer = BytesIO()
    Image.new("RGB", (4001, 3000), "teal").save(buffer, "JPEG")
    with pytest.raises(NoFaceError, match="4001x3000"):
        pipeline.read_faces(buffer.getvalue())
