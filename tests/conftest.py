"""Faces for the tests: the real data where it lies beside the checkout, and made ones everywhere."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from model.ferplus import FACE_PX, LabelledFaces, Split
from model.votes import EMOTIONS, VOTE_COLUMNS

if TYPE_CHECKING:
    from service.engine import Engine

MakeFaces = Callable[..., LabelledFaces]
WriteSplit = Callable[[Path, Split, LabelledFaces], Path]


def cartoon(side: int = 320) -> NDArray[np.uint8]:
    """A drawn face that YuNet takes for one, its eyes at 0.4 and 0.6 of the width and 0.45 of the height."""
    unit = side / 100
    image = Image.new("RGB", (side, side), (90, 120, 150))
    draw = ImageDraw.Draw(image)

    def ellipse(x: float, y: float, across: float, down: float, colour: tuple[int, int, int]) -> None:
        corners = (x - across, y - down, x + across, y + down)
        draw.ellipse([corner * unit for corner in corners], fill=colour)

    ellipse(50, 42, 30, 34, (60, 40, 30))
    draw.rectangle([42 * unit, 75 * unit, 58 * unit, 95 * unit], fill=(205, 160, 130))
    ellipse(50, 52, 25, 32, (225, 180, 150))
    for x in (40, 60):
        ellipse(x, 45, 5, 2.6, (250, 250, 250))
        ellipse(x, 45, 2.4, 2.4, (50, 30, 20))
        draw.line([(x - 6) * unit, 39 * unit, (x + 6) * unit, 38.5 * unit], fill=(60, 40, 30), width=int(1.6 * unit))
    draw.polygon([(50 * unit, 47 * unit), (46 * unit, 60 * unit), (54 * unit, 60 * unit)], fill=(205, 155, 125))
    ellipse(47.5, 60, 1.2, 0.8, (120, 70, 60))
    ellipse(52.5, 60, 1.2, 0.8, (120, 70, 60))
    ellipse(50, 69, 8.5, 2.6, (170, 70, 70))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(side / 200)), dtype=np.uint8)


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
    from index.build import build_bundle
    from model.configuration import NetworkConfig, TrainingConfig
    from model.export import export
    from model.training import train

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
    from service.engine import load_engine
    from service.settings import Settings

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
