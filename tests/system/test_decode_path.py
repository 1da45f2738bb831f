"""The same file gives the same embedding over HTTP, every command, and an import by threads or by a cluster."""

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from PIL import Image

from mien.index.bundle.bundle import Bundle
from mien.index.evaluation.transfer import embed_photographs
from mien.index.gallery.open import open_gallery
from mien.model.datasets.base import LabelledPhotographs
from mien.model.faces.decoding import decode
from mien.model.faces.reader import FaceReader
from mien.model.pipeline import Pipeline, load_pipeline
from mien.service.app import create_app
from mien.service.bulk.manifests import ManifestFace
from mien.service.bulk.stages import PrepareStage, embed_drafts
from mien.service.commands.main import main
from mien.service.inference.engine import Engine
from mien.service.settings import Settings
from tests.support.cartoon import cartoon


@pytest.fixture(scope="module")
def pipeline(shipped_bundle: Bundle) -> Pipeline:
    return load_pipeline(shipped_bundle.embedder_path)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JPEG photograph of 12 megapixels, which is decoded at half its size."""
    sheet = Image.new("RGB", (4000, 3000), (90, 120, 150))
    sheet.paste(Image.fromarray(cartoon(2400)), (700, 400))
    buffer = BytesIO()
    sheet.save(buffer, "JPEG", quality=92)
    path = tmp_path_factory.mktemp("photographs") / "large.jpg"
    path.write_bytes(buffer.getvalue())
    return path


@pytest.fixture(scope="module")
def embedding(pipeline: Pipeline, file: Path) -> NDArray[np.float32]:
    """(1, d), which differs from that of the photograph decoded at full size."""
    data = file.read_bytes()
    embedding = pipeline.embed(pipeline.read_faces(data))
    assert np.linalg.norm(embedding - pipeline.embed(pipeline.crop_faces(decode(data)))) > 1e-3
    return embedding


@pytest.fixture
def client(served_engine: Engine) -> Iterator[TestClient]:
    with TestClient(create_app(served_engine, Settings())) as client:
        yield client


def test_http(client: TestClient, file: Path, embedding: NDArray[np.float32]) -> None:
    (face,) = client.post("/embed", files={"image": file.read_bytes()}).json()["faces"]
    np.testing.assert_allclose([face["embedding"]], embedding, atol=1e-4)


def test_embed_command(file: Path, embedding: NDArray[np.float32], tmp_path: Path) -> None:
    assert main(["embed", str(file), "--output", str(tmp_path / "faces.npz")]) == 0
    np.testing.assert_allclose(np.load(tmp_path / "faces.npz")["embeddings"], embedding, atol=1e-4)


def test_classify_command_answers_as_http(client: TestClient, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", str(file), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    (face,) = client.post("/classify", files={"image": file.read_bytes()}).json()["faces"]
    assert row["distance"] == pytest.approx(face["distance"], abs=1e-4)


def test_retrieve_command_answers_as_http(client: TestClient, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["retrieve", str(file), "-k", "5", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    (face,) = client.post("/retrieve", params={"k": 5}, files={"image": file.read_bytes()}).json()["faces"]
    expected = [match["distance"] for match in face["matches"]]
    np.testing.assert_allclose([row["distance"] for row in rows], expected, atol=1e-4)


def test_evaluation_on_another_data_set(pipeline: Pipeline, file: Path, embedding: NDArray[np.float32]) -> None:
    photographs = LabelledPhotographs("one", (file,), np.zeros(1, np.int64), None, False, None, {})
    np.testing.assert_allclose(embed_photographs(pipeline, photographs).embeddings, embedding, atol=1e-4)


def test_gallery_import(file: Path, embedding: NDArray[np.float32], tmp_path: Path, shipped_bundle: Bundle) -> None:
    assert main(["gallery", "import", str(file.parent), "--gallery", str(tmp_path / "gallery")]) == 0
    store = open_gallery(str(tmp_path / "gallery"), embedding.shape[1], shipped_bundle.manifest.sha256["embedder.onnx"])
    np.testing.assert_allclose([store.get("large.jpg").embedding], embedding, atol=1e-4)
    store.close()


def test_import_by_a_cluster(pipeline: Pipeline, file: Path, embedding: NDArray[np.float32]) -> None:
    """Its machines have a reader without a network, and embed what they prepared."""
    preparing = PrepareStage(FaceReader(pipeline.detector, max_faces=1), embedding.shape[1])
    drafts = preparing.prepare(ManifestFace("large.jpg", "large.jpg", path=file), None)
    (embedded,) = embed_drafts(drafts, pipeline.embedder)
    assert embedded.face is not None
    np.testing.assert_allclose([embedded.face.embedding], embedding, atol=1e-4)
