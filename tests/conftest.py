"""Faces for the tests: the real data where it lies beside the checkout, and made ones everywhere."""

import csv
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from mien.model.datasets.ferplus import FACE_PX, LabelledFaces, Split
from mien.model.emotions import EMOTIONS, VOTE_COLUMNS
from tests.support.cartoon import cartoon

if TYPE_CHECKING:
    from mien.service.inference.engine import Engine

__all__ = ["MakeFaces", "SmallRun", "WriteSplit", "cartoon"]

MakeFaces = Callable[..., LabelledFaces]
WriteSplit = Callable[[Path, Split, LabelledFaces], Path]


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """A test that starts the service in this process leaves logging as it was: its standard error is closed."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def ferplus_root() -> Path:
    """The folder of the real FER+ data, which is no part of the project."""
    root = Path(__file__).resolve().parents[2] / "shared" / "data" / "ferplus"
    if not (root / "FER2013Valid" / "label.csv").is_file():
        pytest.skip("needs the FER+ faces, which do not lie beside this checkout")
    return root


@pytest.fixture(scope="session")
def make_faces() -> MakeFaces:
    """Made faces: each emotion is a pattern of its own under noise, and nine of ten raters see it."""

    def make(count: int, seed: int = 0) -> LabelledFaces:
        patterns = np.random.default_rng(1234).integers(60, 196, (len(EMOTIONS), 6, 6)).repeat(8, 1).repeat(8, 2)
        generator = np.random.default_rng(seed)
        emotion = np.arange(count) % len(EMOTIONS)
        images = np.clip(patterns[emotion] + generator.normal(0, 20, (count, FACE_PX, FACE_PX)), 0, 255)
        votes = np.zeros((count, len(VOTE_COLUMNS)), dtype=np.int64)
        votes[np.arange(count), emotion] = 9
        votes[np.arange(count), generator.integers(0, len(VOTE_COLUMNS), count)] += 1
        # Numbers with gaps, as in FER+, where a number is no row position.
        names = tuple(f"fer{7 * seed + 3 * row:07d}.png" for row in range(count))
        return LabelledFaces(names, images.astype(np.uint8), votes)

    return make


@pytest.fixture(scope="session")
def write_split() -> WriteSplit:
    """Write faces in the layout of folders; returns the split's folder."""

    def write(root: Path, split: Split, faces: LabelledFaces) -> Path:
        folders = {"Training": "FER2013Train", "PublicTest": "FER2013Valid", "PrivateTest": "FER2013Test"}
        folder = root / folders[split]
        folder.mkdir(parents=True)
        with (folder / "label.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            for name, image, votes in zip(faces.names, faces.images, faces.votes, strict=True):
                Image.fromarray(image).save(folder / name)
                writer.writerow([name, f"(0, 0, {FACE_PX}, {FACE_PX})", *votes.tolist()])
        return folder

    return write


@pytest.fixture(scope="session")
def london_root() -> Path:
    """The folder of the London photographs, which are no part of the project."""
    root = Path(__file__).resolve().parents[2] / "shared" / "data" / "london-faces"
    if not (root / "labels.csv").is_file():
        pytest.skip("needs the London photographs, which do not lie beside this checkout")
    return root


@dataclass(frozen=True)
class SmallRun:
    """What the whole offline path left, on made faces and with a tiny network."""

    data: Path
    checkpoint: Path
    network: Path
    bundle: Path


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory, make_faces: MakeFaces, write_split: WriteSplit) -> SmallRun:
    """Train, export and build, for real but small: some seconds, once for all tests. Do not write into it."""
    from mien.index.fitting.build import build_bundle
    from mien.model.export.export import export
    from mien.model.training.config import NetworkConfig, TrainingConfig
    from mien.model.training.train import train

    folder = tmp_path_factory.mktemp("small_run")
    training, validation = make_faces(320, seed=1), make_faces(80, seed=2)
    write_split(folder / "data", "Training", training)
    write_split(folder / "data", "PublicTest", validation)
    config = TrainingConfig(
        network=NetworkConfig(widths=(8, 16), blocks=(1, 1), dropout=0.0), epochs=3, batch_size=32, warmup_epochs=0.0
    )
    checkpoint = train(training, validation, config, folder / "run", device=torch.device("cpu"))
    export(checkpoint, folder / "embedder.onnx")
    build_bundle(folder / "embedder.onnx", training, folder / "bundle")
    return SmallRun(folder / "data", checkpoint, folder / "embedder.onnx", folder / "bundle")


@pytest.fixture(scope="session")
def served_engine() -> "Engine":
    """The bundle that ships, loaded once. Do not change it."""
    from mien.service.inference.engine import load_engine
    from mien.service.settings import Settings

    return load_engine(Settings(provider="cpu"))


@pytest.fixture(scope="session")
def crop_file(make_faces: MakeFaces) -> bytes:
    """A face crop, as a PNG file."""
    buffer = BytesIO()
    Image.fromarray(make_faces(1).images[0]).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def photograph_file() -> bytes:
    """A photograph with two faces, the larger on the right, as a JPEG file."""
    sheet = Image.new("RGB", (1000, 500), (90, 120, 150))
    sheet.paste(Image.fromarray(cartoon(200)), (50, 20))
    sheet.paste(Image.fromarray(cartoon(450)), (500, 20))
    buffer = BytesIO()
    sheet.save(buffer, "JPEG")
    return buffer.getvalue()
