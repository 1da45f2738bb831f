"""Emotions other than the eight of FER+, from photographs to the service."""

import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from mien.index.bundle.bundle import load_bundle
from mien.service.app import create_app
from mien.service.commands.main import main
from mien.service.inference.engine import load_engine
from mien.service.settings import Settings
from tests.support.answers import CROPPED
from tests.support.faces import make_faces, write_split
from tests.support.images import encode

pytestmark = pytest.mark.system

LABELS = ("happiness", "concentration", "wink")
TINY = shlex.split(
    "--network-widths 8 16 --network-blocks 1 1 --epochs 4 --batch-size 32 --warmup-epochs 0 --device cpu"
)


def make_bundle(folder: Path, data: Path, *options: str) -> Path:
    given = ["--data", str(data), *options]
    assert main(["train", *given, "--output", str(folder / "run"), *TINY]) == 0
    assert main(["export", str(folder / "run" / "checkpoint.pt"), "--output", str(folder / "embedder.onnx")]) == 0
    assert main(["build", str(folder / "embedder.onnx"), *given, "--output", str(folder / "bundle")]) == 0
    assert main(["calibrate", "--bundle", str(folder / "bundle"), *given]) == 0
    found = ["--output", str(folder / "sub-classes"), "--least-faces", "12", "--restarts", "1", "--halvings", "2"]
    assert main(["discover", "--bundle", str(folder / "bundle"), *given, *found]) == 0
    return folder / "bundle"


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn faces in a folder for each label, with splits."""
    root = tmp_path_factory.mktemp("photographs")
    for split, count, seed in (("train", 400, 1), ("validation", 160, 2)):
        faces = make_faces(count, seed)
        for row in np.flatnonzero(np.arange(count) % 8 < len(LABELS)).tolist():
            path = root / split / LABELS[row % 8] / f"{row}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(faces.images[row]).save(path)
    return root


@pytest.fixture(scope="module")
def bundle(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("own"), photographs, "--already-cropped")


@pytest.fixture(scope="module")
def client(bundle: Path) -> Iterator[TestClient]:
    with TestClient(create_app(load_engine(Settings(provider="cpu", bundle=bundle)), Settings(rate_per_s=0))) as client:
        yield client


def test_bundle_has_the_emotions_of_the_photographs(bundle: Path, photographs: Path) -> None:
    loaded = load_bundle(bundle)
    assert loaded.mixture.emotions == ("happiness", "concentration", "wink")
    assert loaded.mixture.calibration is not None
    assert loaded.sub_classes is not None
    assert set(loaded.sub_classes.emotions) == set(LABELS)
    assert loaded.manifest.made_from["dataset"] == f"{photographs.name} Training"
    assert loaded.manifest.made_from["training"]["emotions"] == list(loaded.mixture.emotions)


def test_service_answers_with_them(client: TestClient) -> None:
    faces = make_faces(160, 3)
    rows = [row for row in range(48) if row % 8 < len(LABELS)]
    answers = [client.post("/classify", params=CROPPED, files={"image": encode(faces.images[row])}) for row in rows]
    named = [answer.json()["faces"][0]["emotion"] for answer in answers]
    assert np.mean([LABELS[row % 8] == name for row, name in zip(rows, named, strict=True)]) > 0.8
    assert set(answers[0].json()["faces"][0]["posterior"]) == set(LABELS)
    matches = client.post("/retrieve", json={"query": {"emotion": "wink"}, "k": 5}).json()["matches"]
    assert {match["label"] for match in matches} == {"wink"}
    assert matches[0]["metadata"]["votes"] == {"wink": 1}
    assert client.get("/info").json()["emotions"] == ["happiness", "concentration", "wink"]
    assert [region["id"] for region in client.get("/map").json()["emotions"]] == ["happiness", "concentration", "wink"]
    atlas = client.get("/atlas").json()["emotions"]
    assert {region["id"]: region["votes"] for region in atlas}["wink"] == {"wink": 1.0}


def test_bundle_is_scored_on_its_own_emotions(
    bundle: Path, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", "--bundle", str(bundle), "--dataset", "folders", str(photographs), "--split", "validation"]
    assert main([*command, "--already-cropped", "--output", str(tmp_path)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "recall, wink, all emotions" in shown


def test_seven_emotions_of_ferplus(tmp_path: Path) -> None:
    """Training faces without contempt, as raters see it rarely: the emotion is left out from the start."""
    data = tmp_path / "data"
    training, validation = make_faces(480, 1), make_faces(160, 2)
    write_split(data, "Training", training.take(np.arange(480) % 8 < 7))
    write_split(data, "PublicTest", validation.take(np.arange(160) % 8 < 7))
    bundle = load_bundle(make_bundle(tmp_path, data))
    assert bundle.mixture.emotions == ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear")
    command = ["evaluate", "--bundle", str(bundle.folder), "--data", str(data), "--output", str(tmp_path / "scores")]
    assert main([*command, "--record"]) == 0
    assert load_bundle(bundle.folder).manifest.scores is not None
