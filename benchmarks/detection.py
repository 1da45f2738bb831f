"""How well and how fast faces are found: composed photographs whose faces are known, through the path that is served.

    python benchmarks/detection.py ../shared/data --pictures 4 --csv detection.csv

Faces of the studio photographs, of Darwin's plates and of the photographs of the world are pasted on made backgrounds:
from 12 to 700 pixels wide, 1 to 60 in a picture, turned, cut by the border, in pictures of 0.3 to 24 megapixels. Each
picture is encoded as JPEG and read by ``FaceReader.read_faces``. For each scene it prints

- recall: share of the pasted faces that are found, in all and by their width in pixels
- false: boxes in a picture that belong to no pasted face
- landmarks: distance of the found landmarks from the true ones, in eye distances (mean over five, median over faces)
- moved: distance of the embedding of the found crop from that of the crop by the true landmarks (median over faces)
- CPU ms: user and system time of the process for a picture, decoding included (median over pictures)

True landmarks are those that the detector finds in the photograph that a face comes from, where it is large. The
pictures depend on the seed alone, so that two versions of the project can be compared picture by picture.
"""

import argparse
import csv
import math
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from mien.index.bundle.default import default_bundle
from mien.model.embedder.embedder import Embedder
from mien.model.errors import NoFaceError
from mien.model.faces.alignment import crop_face
from mien.model.faces.decoding import DecodingLimits
from mien.model.faces.detection import Detector
from mien.model.faces.reader import Face, FaceReader

WIDTHS_PX: Final = (12, 20, 30, 60, 120, 300, 701)
"""Edges of the groups of widths by which recall is printed."""

HEAD: Final = 1.9
"""Side of the square that is pasted, in widths of its face: the head, with some background to blend in."""

MIN_SOURCE_SCORE: Final = 0.8


@dataclass(frozen=True)
class Scene:
    """A kind of picture.

    Attributes:
        name: of the row.
        size: width and height of the picture, pixels.
        faces: how many are pasted.
        widths_px: the narrowest and the widest face; widths are uniform in their logarithm.
        turn_deg: the largest turn either way.
        cut: whether each face lies over the border, with a quarter to two fifths of its width outside.
        grain: standard deviation of the noise of each pixel of the background, grey levels.
    """

    name: str
    size: tuple[int, int]
    faces: int
    widths_px: tuple[int, int] = (12, 700)
    turn_deg: float = 12.0
    cut: bool = False
    grain: float = 6.0


SCENES: Final = (
    Scene("portrait, 1.8 MP", (1350, 1350), 1, (350, 700)),
    Scene("portrait, 12 MP", (3000, 4000), 1, (600, 700)),
    Scene("one face, 640x480", (640, 480), 1, (100, 220)),
    Scene("group, 12 MP", (4000, 3000), 40, (30, 80)),
    Scene("crowd, 24 MP", (6000, 4000), 60, (20, 120)),
    Scene("small faces, 2 MP", (2000, 1000), 20, (12, 30)),
    Scene("near and far, 2 MP", (1600, 1200), 8, (20, 400)),
    Scene("turned, 2 MP", (1600, 1200), 6, (60, 250), turn_deg=45.0),
    Scene("cut by the border, 2 MP", (1600, 1200), 6, (60, 250), cut=True),
    Scene("panorama, 8 MP", (8000, 1000), 20, (30, 200)),
    Scene("no face, 12 MP", (4000, 3000), 0),
    Scene("no face, noise, 12 MP", (4000, 3000), 0, grain=60.0),
)


@dataclass(frozen=True)
class Source:
    """A face to paste.

    Attributes:
        pixels: (h, w, 3) uint8 RGB, the photograph.
        landmarks: (5, 2) float64 in its pixels.
        centre: x and y of its box.
        width_px: of its box.
    """

    pixels: NDArray[np.uint8]
    landmarks: NDArray[np.float64]
    centre: tuple[float, float]
    width_px: float


@dataclass(frozen=True)
class PastedFace:
    """A face of a composed picture.

    Attributes:
        centre: x and y of its box, in pixels of the picture.
        width_px: of its box.
        landmarks: (5, 2) float64 in pixels of the picture.
        crop: (48, 48) uint8, aligned by the true landmarks in the photograph it comes from.
    """

    centre: tuple[float, float]
    width_px: float
    landmarks: NDArray[np.float64]
    crop: NDArray[np.uint8]


@dataclass
class Row:
    """The figures of one scene."""

    widths_px: list[float] = field(default_factory=list)
    hits: list[bool] = field(default_factory=list)
    false: list[int] = field(default_factory=list)
    landmarks: list[float] = field(default_factory=list)
    moved: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)


def main() -> None:
    """Compose, read, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with london-faces, darwin and wild")
    parser.add_argument("--pictures", type=int, default=4, help="of each scene (default: 4)")
    parser.add_argument("--seed", type=int, default=0, help="of the pictures (default: 0)")
    parser.add_argument("--scene", action="append", help="only scenes whose name contains this; may be repeated")
    parser.add_argument("--csv", type=Path, help="also write the table to this file")
    arguments = parser.parse_args()

    sources = list(_sources(arguments.data))
    sys.stderr.write(f"{len(sources)} faces to paste\n")
    embedder = Embedder(default_bundle() / "embedder.onnx", threads=1, provider="cpu")
    reader = FaceReader(Detector(), DecodingLimits(max_bytes=2**27, max_pixels=2**26), None)
    table = [_header()]
    for number, scene in enumerate(SCENES):
        if arguments.scene and not any(part in scene.name for part in arguments.scene):
            continue
        row = Row()
        for picture in range(arguments.pictures):
            generator = np.random.default_rng([arguments.seed, number, picture])
            _measure(row, *_compose(scene, sources, generator), reader, embedder)
        table.append(_cells(scene.name, row))
        sys.stderr.write(f"{scene.name}\n")
    for cells in (table[0], ["---"] * len(table[0]), *table[1:]):
        sys.stdout.write(f"| {' | '.join(cells)} |\n")
    if arguments.csv:
        with arguments.csv.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(table)


def _sources(data: Path) -> Iterator[Source]:
    """The photographs' faces, of those that show exactly one well."""
    detector = Detector()
    files = [
        *sorted(data.glob("london-faces/*/*.jpg")),
        *sorted(data.glob("darwin/*.jpg")),
        *sorted(data.glob("wild/images/*.jpg"))[::20],
    ]
    for file in files:
        with Image.open(file) as opened:
            pixels = np.asarray(opened.convert("RGB"))
        for detection in detector.detect(pixels):
            x, y, width, height = detection.box
            if detection.score >= MIN_SOURCE_SCORE and width >= 60:
                yield Source(
                    pixels, detection.landmarks.astype(np.float64), (x + width / 2, y + height / 2), float(width)
                )


def background(size: tuple[int, int], generator: np.random.Generator, grain: float = 6.0) -> Image.Image:
    """A made background of a width and height: soft patches of colour, with noise."""
    width, height = size
    blobs = (max(2, height // 250), max(2, width // 250))
    light, colour = generator.uniform(50, 200, (*blobs, 1)), generator.uniform(-25, 25, (*blobs, 3))
    coarse = (light + colour).astype(np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC), dtype=np.int16)
    grain = np.rint(generator.standard_normal((height, width, 1), dtype=np.float32) * grain).astype(np.int16)
    return Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8))


def _compose(scene: Scene, sources: Sequence[Source], generator: np.random.Generator) -> tuple[bytes, list[PastedFace]]:
    """A picture as a JPEG file, and its faces."""
    picture = background(scene.size, generator, scene.grain)
    pasted: list[PastedFace] = []
    low, high = np.log(scene.widths_px)
    widths_px = np.sort(np.exp(generator.uniform(low, high, scene.faces)))[::-1]
    for face_px in widths_px.tolist():
        source = sources[int(generator.integers(len(sources)))]
        centre = _place(scene, face_px, pasted, generator)
        if centre is not None:
            turn = math.radians(generator.uniform(-scene.turn_deg, scene.turn_deg))
            pasted.append(paste(picture, source, centre, face_px, turn))
    file = BytesIO()
    picture.save(file, "JPEG", quality=90)
    return file.getvalue(), pasted


def _place(
    scene: Scene, face_px: float, pasted: Sequence[PastedFace], generator: np.random.Generator
) -> tuple[float, float] | None:
    """Where a face can go without covering another; None where none of many tries was free."""
    width, height = scene.size
    margin = face_px * HEAD / 2
    for _ in range(500):
        if scene.cut:
            inside = face_px / 2 - generator.uniform(0.25, 0.4) * face_px
            x = inside if generator.random() < 0.5 else width - inside
        else:
            x = generator.uniform(margin, max(margin, width - margin))
        y = generator.uniform(margin, max(margin, height - margin))
        if all(
            math.dist((x, y), other.centre) > HEAD * math.sqrt(2) / 2 * (face_px + other.width_px) for other in pasted
        ):
            return float(x), float(y)
    return None


def paste(picture: Image.Image, source: Source, centre: tuple[float, float], face_px: float, turn: float) -> PastedFace:
    """Paste a face, scaled and turned, with a soft border."""
    scale = face_px / source.width_px
    side = math.ceil(face_px * HEAD)
    cosine, sine = math.cos(turn), math.sin(turn)
    rotation = np.array([[cosine, -sine], [sine, cosine]])
    # Averaged down first where the face becomes much smaller, as a camera would.
    shrink = max(1, int(1 / scale / 1.5))
    whole = Image.fromarray(source.pixels).reduce(shrink)
    inverse = rotation.T / scale
    origin = np.array(source.centre) - inverse @ np.array([side / 2, side / 2])
    coefficients = np.hstack([inverse, origin[:, np.newaxis]]) / shrink
    transform = tuple(coefficients.ravel().tolist())
    patch = whole.transform((side, side), Image.Transform.AFFINE, transform, Image.Resampling.BICUBIC)
    mask = Image.new("L", (side, side), 0)
    inset = side * 0.08
    ImageDraw.Draw(mask).ellipse((inset, inset, side - inset, side - inset), fill=255)
    # Nothing is pasted from beyond the photograph's border: the wild ones are filled by their faces.
    inside = Image.new("L", whole.size, 255).transform(mask.size, Image.Transform.AFFINE, transform)
    mask = ImageChops.darker(mask, inside)
    mask = mask.filter(ImageFilter.GaussianBlur(side * 0.03))
    left, top = round(centre[0] - side / 2), round(centre[1] - side / 2)
    picture.paste(patch, (left, top), mask)
    shift = np.array([left + side / 2, top + side / 2])
    landmarks = (source.landmarks - source.centre) @ rotation.T * scale + shift
    return PastedFace(
        (float(shift[0]), float(shift[1])), face_px, landmarks, crop_face(source.pixels, source.landmarks)
    )


def _measure(row: Row, file: bytes, pasted: list[PastedFace], reader: FaceReader, embedder: Embedder) -> None:
    began = time.process_time()
    try:
        faces = reader.read_faces(file)
    except NoFaceError:
        faces = []
    row.cpu_ms.append(1000 * (time.process_time() - began))
    free = list(range(len(faces)))
    pairs: list[tuple[PastedFace, Face]] = []
    for face in pasted:
        match = next((number for number in free if _is_same(face, faces[number])), None)
        row.widths_px.append(face.width_px)
        row.hits.append(match is not None)
        if match is not None:
            free.remove(match)
            pairs.append((face, faces[match]))
    row.false.append(len(free))
    if not pairs:
        return
    true = embedder.embed(np.stack([face.crop for face, _ in pairs]))
    found = embedder.embed(np.stack([face.crop for _, face in pairs]))
    row.moved.extend(np.linalg.norm(true - found, axis=1).tolist())
    for face, match_face in pairs:
        if match_face.landmarks is not None:
            eyes = math.dist(face.landmarks[0], face.landmarks[1])
            off = np.linalg.norm(match_face.landmarks - face.landmarks, axis=1).mean()
            row.landmarks.append(float(off) / eyes)


def _is_same(face: PastedFace, found: Face) -> bool:
    """Whether a found face is the pasted one: its landmarks' centre within half a width, of about the same size."""
    if found.landmarks is None:
        return False
    off = math.dist(found.landmarks.mean(axis=0), face.landmarks.mean(axis=0))
    eyes, true = (math.dist(points[0], points[1]) for points in (found.landmarks, face.landmarks))
    return off < face.width_px / 2 and 0.4 < eyes / true < 2.5


def _header() -> list[str]:
    groups = [f"{low} to {high - 1} px" for low, high in pairwise(WIDTHS_PX)]
    return ["scene", "faces", "recall", *groups, "false", "landmarks", "moved", "CPU ms"]


def _cells(name: str, row: Row) -> list[str]:
    widths_px, hits = np.array(row.widths_px), np.array(row.hits, dtype=bool)

    def recall(chosen: NDArray[np.bool_]) -> str:
        return f"{hits[chosen].mean():.3f}" if chosen.any() else ""

    def median(values: list[float], digits: int) -> str:
        return f"{statistics.median(values):.{digits}f}" if values else ""

    groups = [recall((widths_px >= low) & (widths_px < high)) for low, high in pairwise(WIDTHS_PX)]
    every = recall(np.ones(len(hits), dtype=bool))
    return [
        name,
        str(len(hits)),
        every,
        *groups,
        f"{statistics.mean(row.false):.2f}",
        median(row.landmarks, 3),
        median(row.moved, 3),
        median(row.cpu_ms, 0),
    ]


if __name__ == "__main__":
    main()
