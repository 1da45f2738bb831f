"""Composed photographs whose faces are known: scenes, the faces that are pasted, and how."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from mien.model.faces.alignment import crop_face
from mien.model.faces.candidates import overlap
from mien.model.faces.detection import Detection, Detector

HEAD: Final = 1.9
"""Side of the square that is pasted, in widths of its face: the head, with some background to blend in."""

MIN_SOURCE_SCORE: Final = 0.8

TRUE_PX: Final = (96, 128, 160, 192, 224)
"""The true landmarks are the mean over those of a face that is so wide."""


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
        ground: made; photographs; or very many faces that are too blurred to be found, but nearly.
        grain: standard deviation of the noise of each pixel of a made ground, grey levels.
    """

    name: str
    size: tuple[int, int]
    faces: int
    widths_px: tuple[int, int] = (12, 700)
    turn_deg: float = 12.0
    cut: bool = False
    ground: Literal["made", "photographs", "blurred faces"] = "made"
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
    Scene("busy portrait, 1.8 MP", (1350, 1350), 1, (350, 700), ground="photographs"),
    Scene("busy portrait, 12 MP", (3000, 4000), 1, (600, 700), ground="photographs"),
    Scene("busy, one face, 640x480", (640, 480), 1, (100, 220), ground="photographs"),
    Scene("busy, near and far, 2 MP", (1600, 1200), 8, (20, 400), ground="photographs"),
    Scene("no face, busy, 2 MP", (1600, 1200), 0, ground="photographs"),
    Scene("no face, weak candidates, 2 MP", (1600, 1200), 0, ground="blurred faces"),
    Scene("made of faces, 2 MP", (1600, 1200), 80, (36, 44)),
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


def sources_of(files: Sequence[Path], min_px: float = 60) -> Iterator[Source]:
    """The faces of photographs that show them well and at least ``min_px`` wide."""
    detector = Detector()
    for file in files:
        with Image.open(file) as opened:
            pixels = np.asarray(opened.convert("RGB"))
        for detection in detector.detect(pixels):
            x, y, width, height = detection.box
            if detection.score >= MIN_SOURCE_SCORE and width >= min_px:
                landmarks = _true_landmarks(detector, pixels, detection)
                yield Source(pixels, landmarks, (x + width / 2, y + height / 2), float(width))


def _true_landmarks(detector: Detector, pixels: NDArray[np.uint8], face: Detection) -> NDArray[np.float64]:
    """(5, 2): the mean over several sizes of the face, independent of the sizes that a search looks at."""
    x, y, width, height = face.box
    side = 2 * max(width, height)
    left, top = x + width / 2 - side / 2, y + height / 2 - side / 2
    square = Image.fromarray(pixels).crop((round(left), round(top), round(left + side), round(top + side)))
    found: list[NDArray[np.float32]] = []
    for face_px in TRUE_PX:
        scale = face_px / width
        shown = square.resize((round(square.width * scale), round(square.height * scale)), reducing_gap=2.0)
        candidates = detector.candidates(shown)
        candidates[:, :14] /= scale
        candidates[:, :14:2] += round(left) * np.array([1, 0, 1, 1, 1, 1, 1])
        candidates[:, 1:14:2] += round(top) * np.array([1, 0, 1, 1, 1, 1, 1])
        same = candidates[overlap(face.box, candidates[:, :4]) > 0.5]
        if len(same):
            found.append(np.average(same[:, 4:14], axis=0, weights=same[:, 14]))
    points = np.mean(found, axis=0) if found else face.landmarks
    return points.reshape(5, 2).astype(np.float64)


def ground(
    scene: Scene, sources: Sequence[Source], photographs: Sequence[NDArray[np.uint8]], generator: np.random.Generator
) -> Image.Image:
    """The picture of a scene without its faces."""
    if scene.ground == "made":
        return background(scene.size, generator, scene.grain)
    if scene.ground == "photographs":
        return repeated(photographs[int(generator.integers(len(photographs)))], scene.size, generator)
    source = sources[int(generator.integers(len(sources)))]
    tile = background((44, 44), generator)
    paste(tile, source, (22, 22), 20, 0)
    return repeated(np.asarray(tile.filter(ImageFilter.GaussianBlur(1.5))), scene.size, generator, (1.0, 1.0))


def repeated(
    photograph: NDArray[np.uint8],
    size: tuple[int, int],
    generator: np.random.Generator,
    scales: tuple[float, float] = (0.5, 1.5),
) -> Image.Image:
    """A photograph, repeated and mirrored, scaled by 0.5 to 1.5 where the picture has 1,280 pixels."""
    scale = max(1.0, max(size) / 1280) * generator.uniform(*scales)
    tile = Image.fromarray(photograph)
    tile = tile.resize((round(tile.width * scale), round(tile.height * scale)))
    start = generator.integers(0, tile.size)
    columns, rows = (
        np.where(places // side % 2 == 0, places % side, side - 1 - places % side)
        for places, side in zip(
            (np.arange(count) + first for count, first in zip(size, start, strict=True)), tile.size, strict=True
        )
    )
    return Image.fromarray(np.asarray(tile)[np.ix_(rows, columns)])


@cache
def sample_photographs() -> tuple[NDArray[np.uint8], ...]:
    """Two photographs without faces: those of scikit-learn."""
    from sklearn.datasets import load_sample_images

    return tuple(load_sample_images().images)


def background(size: tuple[int, int], generator: np.random.Generator, grain: float = 6.0) -> Image.Image:
    """A made background of a width and height: soft patches of colour, with noise."""
    width, height = size
    blobs = (max(2, height // 250), max(2, width // 250))
    light, colour = generator.uniform(50, 200, (*blobs, 1)), generator.uniform(-25, 25, (*blobs, 3))
    coarse = (light + colour).astype(np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC), dtype=np.int16)
    grain = np.rint(generator.standard_normal((height, width, 1), dtype=np.float32) * grain).astype(np.int16)
    return Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8))


def compose(
    scene: Scene,
    sources: Sequence[Source],
    generator: np.random.Generator,
    photographs: Sequence[NDArray[np.uint8]] | None = None,
) -> tuple[bytes, list[PastedFace]]:
    """A picture as a JPEG file, and its faces."""
    picture = ground(scene, sources, sample_photographs() if photographs is None else photographs, generator)
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
