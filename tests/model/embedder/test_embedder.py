import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from mien.index.bundle.default import default_bundle
from mien.index.bundle.manifest import EMBEDDER
from mien.model.embedder.embedder import BATCH_FACES, METADATA_KEY, Embedder
from mien.model.emotions import EMOTIONS
from mien.model.errors import EmbedderError


def changed(**parts: object) -> str:
    """Valid metadata with some parts changed."""
    right = {
        "format_version": 1,
        "mien_version": "0",
        "side_px": 48,
        "embedding_size": 64,
        "emotions": EMOTIONS,
        "sigma": 1.0,
        "mirror": True,
        "preprocessing": {},
        "training": {},
    }
    return json.dumps({**right, **parts})


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder(default_bundle() / EMBEDDER, provider="cpu")


def crops(count: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    return np.random.default_rng(0).integers(0, 256, (count, 48, 48), dtype=np.uint8)


def test_metadata_is_read(embedder: Embedder) -> None:
    assert (embedder.side_px, embedder.embedding_size) == (48, 64)
    assert embedder.emotions == EMOTIONS
    assert embedder.sigma > 0
    assert embedder.providers == ["CPUExecutionProvider"]
    assert [member["seed"] for member in embedder.metadata.training["members"]]


@pytest.mark.parametrize("count", [0, 1, BATCH_FACES + 1])
def test_any_number_of_crops_is_embedded(embedder: Embedder, count: int) -> None:
    embeddings = embedder.embed(crops(count))
    assert embeddings.shape == (count, 64)
    assert embeddings.dtype == np.float32
    assert np.isfinite(embeddings).all()


def test_batch_does_not_change_an_embedding(embedder: Embedder) -> None:
    together = embedder.embed(crops(7))
    alone = np.concatenate([embedder.embed(crop[None]) for crop in crops(7)])
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_brightness_and_contrast_hardly_change_an_embedding(embedder: Embedder) -> None:
    ramp = (np.add.outer(np.arange(48), np.arange(48)) + 50).astype(np.uint8)[None]
    darker = (ramp // 2 + 20).astype(np.uint8)
    difference = np.linalg.norm(embedder.embed(ramp) - embedder.embed(darker))
    # Grey values and the activations of an int8 network are rounded, so the embeddings differ a little.
    assert difference < 0.2 * np.linalg.norm(embedder.embed(ramp) - embedder.embed(crops(1)))


@pytest.mark.parametrize(
    "wrong", [np.zeros((48, 48), np.uint8), np.zeros((1, 40, 48), np.uint8), np.zeros((1, 48, 48), np.float32)]
)
def test_other_shapes_and_types_are_refused(
    embedder: Embedder, wrong: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]"
) -> None:
    with pytest.raises(ValueError, match=r"expected crops \(n, 48, 48\) uint8, got"):
        embedder.embed(wrong)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EmbedderError, match="no exported network at"):
        Embedder(tmp_path / "absent.onnx")


def test_broken_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes((default_bundle() / EMBEDDER).read_bytes()[:1000])
    with pytest.raises(EmbedderError, match="ONNX Runtime can load"):
        Embedder(path)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "not written by mien export"),
        ("{", "not written by mien export"),
        ('{"format_version": 99}', "format version 99"),
        ("[1]", "not written by mien export"),
        (changed(sigma=-1), "sigma: Input should be greater than 0"),
        (changed(side_px="wide"), "side_px: Input should be a valid integer"),
        (changed(emotions=[]), "emotions: Tuple should have at least 1 item"),
        (changed(side_px=64), "must take faces of 48 pixels, got a network for 64"),
    ],
)
def test_network_without_metadata_is_refused(tmp_path: Path, metadata: str | None, message: str) -> None:
    graph = onnx.load(default_bundle() / EMBEDDER)
    del graph.metadata_props[:]
    if metadata is not None:
        onnx.helper.set_model_props(graph, {METADATA_KEY: metadata})
    onnx.save(graph, tmp_path / "other.onnx")
    with pytest.raises(EmbedderError, match=message):
        Embedder(tmp_path / "other.onnx")
