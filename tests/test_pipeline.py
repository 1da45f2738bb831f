from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from conftest import MakeFaces
from PIL import Image

from index.bundle import EMBEDDER, default_bundle
from model.decoding import DecodingLimits
from model.errors import ImageTooLargeError, NoFaceError
from model.pipeline import Pipeline, load_pipeline


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return load_pipeline(default_bundle() / EMBEDDER, provider="cpu")


def png(pixels: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_training_crop_reaches_the_network_bit_for_bit(pipeline: Pipeline, make_faces: MakeFaces) -> None:
    """What the index is built from and what is uploaded go the same way."""
    crops = make_faces(5).images
    for crop in crops:
        embedded = pipeline.embed(png(crop), already_cropped=True)
        assert (embedded.faces[0].crop == crop).all()
        np.testing.assert_allclose(embedded.embeddings, pipeline.embedder.embed(crop[None]), atol=1e-5)
        assert embedded.faces[0].detection is None


def test_an_image_without_a_face(pipeline: Pipeline) -> None:
    with pytest.raises(NoFaceError, match=r"no face was found in the image of 64x32 pixels.*already_cropped"):
        pipeline.embed(png(np.zeros((32, 64, 3), dtype=np.uint8)))


def test_the_limits_hold() -> None:
    small = load_pipeline(default_bundle() / EMBEDDER, limits=DecodingLimits(max_pixels=100), provider="cpu")
    with pytest.raises(ImageTooLargeError):
        small.embed(png(np.zeros((11, 10), dtype=np.uint8)), already_cropped=True)


def test_faces_of_a_photograph_come_largest_first(pipeline: Pipeline, london_root: Path) -> None:
    large = Image.open(london_root / "happiness" / "001.jpg").resize((600, 600))
    small = Image.open(london_root / "neutral" / "006.jpg").resize((300, 300))
    sheet = Image.new("RGB", (1000, 600), "white")
    sheet.paste(small, (0, 0))
    sheet.paste(large, (400, 0))
    embedded = pipeline.embed(png(np.asarray(sheet)))
    assert len(embedded.faces) == 2
    areas = [face.box[2] * face.box[3] for face in embedded.faces]
    assert areas[0] > areas[1]
    assert embedded.faces[0].box[0] > 400
    assert embedded.embeddings.shape == (2, 64)

    only = load_pipeline(default_bundle() / EMBEDDER, max_faces=1, provider="cpu")
    assert only.embed(png(np.asarray(sheet))).faces[0].box == embedded.faces[0].box
    assert len(only.embed(png(np.asarray(sheet))).faces) == 1
