"""Videos whose faces are known: studio photographs that move, turn and begin to smile before a made background."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from detection_scenes import PastedFace, Source, background, paste
from numpy.typing import NDArray
from PIL import Image

from mien.model.faces.alignment import TEMPLATE, similarity
from mien.model.faces.detection import Detector

FPS: Final = 25

SIDE_PX: Final = 400
"""Side of the square that each photograph is warped to, its face in the middle."""

CROP_SHARE: Final = 0.5
"""Side of the face's crop in that square, as a share of it."""

NOISE: Final = 2.0
"""Standard deviation of the noise of each frame, grey levels."""


@dataclass(frozen=True)
class Person:
    """A face, without an expression and with a smile, framed alike: (SIDE_PX, SIDE_PX, 3) float32; with landmarks."""

    neutral: NDArray[np.float32]
    smile: NDArray[np.float32]
    landmarks: NDArray[np.float64]
    width_px: float

    def source(self, smile: float) -> Source:
        """The face with a share of its smile from 0 to 1."""
        pixels = np.rint(self.neutral * (1 - smile) + self.smile * smile).clip(0, 255).astype(np.uint8)
        return Source(pixels, self.landmarks, (SIDE_PX / 2, SIDE_PX / 2), self.width_px)


@dataclass(frozen=True)
class Place:
    """Where a face is at one time: its middle and width, pixels; its turn, radians; the share of its smile."""

    person: int
    x: float
    y: float
    width_px: float
    turn: float = 0.0
    smile: float = 0.0


Motion = Callable[[float], list[Place]]
"""The faces of a frame, by its time in seconds."""


@dataclass(frozen=True)
class VideoScene:
    """A kind of video. A new background at each of the times in ``cuts_s``."""

    name: str
    motion: Motion
    size: tuple[int, int] = (640, 480)
    cuts_s: tuple[float, ...] = ()
    noise: float = NOISE


def _sway(t: float, place: Place, phase: float = 0.0) -> Place:
    """Somebody who speaks: a little to and fro, a smile that comes and goes."""
    angle = 2 * math.pi * (t / 3 + phase)
    return Place(
        place.person,
        place.x + 0.15 * place.width_px * math.sin(angle),
        place.y + 0.06 * place.width_px * math.sin(2.3 * angle),
        place.width_px * (1 + 0.05 * math.sin(0.7 * angle)),
        0.1 * math.sin(1.3 * angle),
        0.5 - 0.5 * math.cos(1.1 * angle),
    )


def _bounce(t: float, person: int, width_px: float, speed: float) -> Place:
    """Across the frame and back, ``speed`` faces a second."""
    low, high = width_px, 640 - width_px
    way = (speed * width_px * t) % (2 * (high - low))
    x = low + (way if way < high - low else 2 * (high - low) - way)
    return Place(person, x, 240 + 0.1 * width_px * math.sin(3 * t), width_px, 0.1 * math.sin(2 * t))


def _five(t: float) -> list[Place]:
    spots = ((110, 130, 100), (320, 120, 80), (530, 130, 110), (210, 350, 90), (440, 350, 70))
    return [_sway(t, Place(row, x, y, width), row / 5) for row, (x, y, width) in enumerate(spots)]


def _come_and_go(t: float) -> list[Place]:
    spots = ((110, 130, 70), (320, 120, 80), (530, 130, 70), (210, 350, 90), (440, 350, 75))
    return [
        _sway(t, Place(row, x, y, width), row / 5)
        for row, (x, y, width) in enumerate(spots)
        if math.sin(2 * math.pi * (t / 1.9 + row / 5)) > -0.2
    ]


def _cut(t: float) -> list[Place]:
    shot = int(t / 0.68 + 1e-6)
    spot = ((180, 200, 120), (440, 260, 150), (320, 180, 60), (200, 280, 110))[shot % 4]
    return [_sway(t, Place(shot % 8, *spot))]


SCENES: Final = (
    VideoScene("one face, speaking", lambda t: [_sway(t, Place(0, 320, 240, 150))]),
    VideoScene("one face, at rest", lambda _: [Place(1, 320, 240, 150)]),
    VideoScene("one small face", lambda t: [_sway(t, Place(2, 320, 240, 32))]),
    VideoScene("one face, walking", lambda t: [_bounce(t, 3, 90, 1.5)]),
    VideoScene("one face, running", lambda t: [_bounce(t, 4, 90, 6)]),
    VideoScene("five faces", _five),
    VideoScene("faces come and go", _come_and_go),
    VideoScene("cuts", _cut, cuts_s=tuple(0.68 * number for number in range(1, 20))),
)


def read_people(data: Path, count: int = 8) -> list[Person]:
    """The first people of the folder london-faces."""
    detector = Detector()
    people = []
    for file in sorted(data.glob("london-faces/neutral/*.jpg"))[:count]:
        frames = [_framed(detector, each) for each in (file, file.parents[1] / "happiness" / file.name)]
        landmarks = np.mean([points for _, points, _ in frames], axis=0)
        people.append(Person(frames[0][0], frames[1][0], landmarks, frames[0][2]))
    return people


def _framed(detector: Detector, file: Path) -> tuple[NDArray[np.float32], NDArray[np.float64], float]:
    """A photograph with its face where all have it, its landmarks, and the width of its box."""
    with Image.open(file) as opened:
        photograph = opened.convert("RGB")
    face = detector.detect(np.asarray(photograph))[0]
    crop_px = CROP_SHARE * SIDE_PX
    turn, shift = similarity(face.landmarks, TEMPLATE * crop_px + (SIDE_PX - crop_px) / 2)
    back, origin = 1 / turn, -shift / turn
    warped = photograph.transform(
        (SIDE_PX, SIDE_PX),
        Image.Transform.AFFINE,
        (back.real, -back.imag, origin.real, back.imag, back.real, origin.imag),
        Image.Resampling.BICUBIC,
    )
    points = (face.landmarks[:, 0] + 1j * face.landmarks[:, 1]) * turn + shift
    landmarks = np.stack([points.real, points.imag], axis=1)
    return np.asarray(warped, np.float32), landmarks, face.box[2] * abs(turn)


def compose(
    scene: VideoScene, people: list[Person], seconds: float, seed: int = 0
) -> Iterator[tuple[NDArray[np.uint8], list[tuple[int, PastedFace]]]]:
    """The frames of a video, (h, w, 3) uint8 RGB, each with its people and their faces."""
    generator = np.random.default_rng(seed)
    behind, cuts_s = background(scene.size, generator), list(scene.cuts_s)
    for number in range(round(seconds * FPS)):
        time_s = number / FPS
        if cuts_s and time_s >= cuts_s[0] - 1e-6:
            del cuts_s[0]
            behind = background(scene.size, generator)
        picture = behind.copy()
        faces = [
            (
                place.person,
                paste(
                    picture, people[place.person].source(place.smile), (place.x, place.y), place.width_px, place.turn
                ),
            )
            for place in scene.motion(time_s)
        ]
        noise = generator.standard_normal((scene.size[1], scene.size[0], 1), np.float32) * scene.noise
        yield np.rint(np.asarray(picture) + noise).clip(0, 255).astype(np.uint8), faces


def encode(frames: list[NDArray[np.uint8]]) -> bytes:
    """An MP4 file (H.264) of (h, w, 3) uint8 RGB frames."""
    import av

    file = BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=Fraction(FPS), options={"crf": "22", "preset": "veryfast"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()
