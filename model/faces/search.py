"""The search for faces from coarse to fine: the whole picture small, then larger only where a small face could be.

Beside its candidates, the network gives hints: for each cell of 8 pixels, whether it would find a small face there in
the same picture at twice the size or more (``mien.model.export.hints``). Most of a photograph has none, and is not
looked at again.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.model.faces.candidates import (
    NMS_OVERLAP,
    STRIDES,
    VOTING_OVERLAP,
    Detection,
    mean_landmarks,
    merge,
    overlap,
)
from mien.model.faces.regions import Region, regions_around

FINEST_PX: Final = 1280
"""Longer side of a photograph at the finest level; the network finds faces from about 10 to 300 pixels."""

FIRST_PX: Final = (320, 480)
"""Longer side at the first level: the smallest of these that the finest is at most ``MAX_STEP`` times as large as."""

MAX_STEP: Final = 2.8

CLOSE_UP_PX: Final = 192
"""Longer side at the last level, for a face that fills the picture: after the larger of ``FIRST_PX``, if no large face
was found."""

PORTRAITS: Final = ((3, 256), (29, 160))
"""So many faces, the largest first, are looked at for their landmarks in a square of so many pixels.

In the first, the face is 192 pixels wide: so wide are the faces of FER2013 where ``mien.model.faces.framing`` detects
them. The landmarks are then off by 0.106 eye distances; where the face is 48 to 128 pixels wide by 0.13 to 0.15, and in
the mean over two levels by 0.125 (means over 160 composed faces of 60 to 700 pixels).
"""

PORTRAIT_SHARE: Final = 0.75
"""Width of the face in that square."""

MIN_PORTRAIT_PX: Final = 48
"""A face that is narrower in the decoded picture keeps the landmarks that it was found with."""

SEEN_PX: Final = (176, 240)
"""A face that is so wide at one level was seen as in a portrait."""

SEEN_IN_FRAME_PX: Final = 40
"""In a frame of a video, which is followed by others, so wide is enough: faces are followed at 58 pixels."""

MAX_WORK: Final = 1.2
"""Bounds the work on any picture: the network reads at most so many times the pixels of two looks at the whole of it,
with ``FINEST_PX`` and with ``FIRST_PX[0]`` pixels. Faces whose turn is beyond that keep the landmarks of the search."""

MIN_SIDE_PX: Final = 240
"""A smaller image is scaled up to this longer side: a 48x48 face crop is too small for the network."""

MIN_HINTS: Final = {320: -2.0, 480: -2.5}
"""Hints below these are none, in logits, by the first level.

Of the small faces that the finest level finds on busy grounds, these keep 0.93 at 480 of 1,280 pixels (0.98 on other
faces than those that they were chosen on) and 1.0 (0.98) at 320 of 640, of the tiles without a face 0.38 and 0.56:
``benchmarks/detection_thresholds.py``. Of faces that are left out, many lie in the regions around others.
"""

MIN_HINT_SCORE: Final = 0.1
"""A candidate with this score is a hint, too."""

SURE_SCORE: Final = 0.8
"""Hints inside a settled face that has this score are ignored."""

SETTLED_PX: Final = 40
"""A face that is wider than this at one level is found there, and larger levels have nothing to say about it."""

MAX_HINT_PX: Final = 80
"""A weak candidate that is wider is no hint; in a settled face that is narrower, hints are ignored at any score."""

MAX_REGION_FACE_PX: Final = 240
"""No region is looked at for a wider face: a part of a large face, seen without the rest, can look like a face."""

CELL_PX: Final = 32
"""Side of the cells of which regions are made."""

MARGIN_PX: Final = 64
"""What a region shows around its cells, so that a face is whole, with some of what surrounds it."""

MAX_SHARE: Final = 0.5
"""Regions that are a larger share of the picture become the whole picture: one run is cheaper than many."""

Network = Callable[[Image.Image, float], tuple[NDArray[np.float32], NDArray[np.float32] | None]]
"""The candidates of an RGB picture with at least some score; and its hints, (rows, columns) logits, if it has any."""


class FaceSearch:
    """The search in one picture, level by level."""

    def __init__(
        self,
        network: Network,
        image: NDArray[np.uint8],
        size: tuple[int, int],
        min_score: float,
        max_faces: int | None = None,
        *,
        min_seen_px: int = SEEN_PX[0],
    ) -> None:
        """Begin.

        Args:
            network: looks at a picture.
            image: (h, w, 3) uint8 RGB: the picture, reduced or not.
            size: width and height of the picture before it was reduced, pixels.
            min_score: of a face.
            max_faces: the search ends when no face among so many of the largest can be missing; None for all faces.
            min_seen_px: a face that is so wide at a level is not looked at again for its landmarks.
        """
        self._network = network
        self._size = size
        self._min_score = min_score
        self._max_faces = max_faces
        self._min_seen_px = min_seen_px
        self._found: list[tuple[int, NDArray[np.float32]]] = []  # each level with its candidates
        self._picture = Image.fromarray(image) if image.size else Image.new("RGB", (1, 1))
        self._settled: list[Detection] = []  # faces that larger levels have nothing to say about
        self._levels_px = _pyramid(max(size)) if min(size) else []
        self._regions: list[Region] | None = None  # of the next level, in its pixels; None for the whole of it
        self._read_px = 0  # by the network

    @property
    def next_px(self) -> int | None:
        """Longer side of the picture at the next level; None at the end of the search."""
        return self._levels_px[0] if self._levels_px else None

    def look(self) -> None:
        """Look at the next level."""
        level_px, *later_px = self._levels_px
        seen, hints = self._look_at(level_px)
        if level_px != CLOSE_UP_PX:
            for face in self._settled:
                seen = seen[~_belongs(seen, face)]
        self._found.append((level_px, seen[seen[:, 14] >= self._min_score]))
        self._regions = None
        if later_px and later_px[0] != CLOSE_UP_PX:
            self._settled = [face for face in self._merged() if face.box[2] >= SETTLED_PX * self._pixel(level_px)]
        if later_px and later_px[0] != CLOSE_UP_PX and hints is not None:
            self._regions = self._plan(seen, hints, level_px, later_px[0])
            if self._regions == []:
                self._regions, later_px = None, [side for side in later_px if side == CLOSE_UP_PX]
        if later_px == [CLOSE_UP_PX] and any((found[:, 2] > max(self._size) / 8).any() for _, found in self._found):
            later_px = []
        self._levels_px = later_px

    def faces(self) -> list[Detection]:
        """The faces that were found, largest box first, in pixels of the picture; call it at the end."""
        faces = self._merged()[: self._max_faces]
        sides = [side for count, side in PORTRAITS for _ in range(count)]
        looked = [
            replace(face, landmarks=self._landmarks(face, side)) for face, side in zip(faces, sides, strict=False)
        ]
        return looked + faces[len(looked) :]

    def _merged(self) -> list[Detection]:
        faces = merge(np.concatenate([seen for _, seen in self._found])) if self._found else []
        return sorted(faces, key=lambda face: face.box[2] * face.box[3], reverse=True)

    def _landmarks(self, face: Detection, portrait_px: int) -> NDArray[np.float32]:
        """The landmarks of a face, seen about as large as in a portrait where the picture is that fine."""
        for level_px, seen in reversed(self._found):
            voters = seen[overlap(face.box, seen[:, :4]) > VOTING_OVERLAP]
            if len(voters) and self._min_seen_px <= face.box[2] / self._pixel(level_px) <= SEEN_PX[1]:
                return mean_landmarks(voters)
        scale = self._picture.width / self._size[0]
        if max(self._size) <= MIN_SIDE_PX:
            return face.landmarks
        x, y, width, height = (value * scale for value in face.box)
        if width < MIN_PORTRAIT_PX:
            return face.landmarks
        side = round(width / PORTRAIT_SHARE)
        left, top = round(x + width / 2 - side / 2), round(y + height / 2 - side / 2)
        if self._read_px + portrait_px**2 > MAX_WORK * self._whole_px:
            return face.landmarks
        square = self._picture.crop((left, top, left + side, top + side))
        seen, _ = self._read(_resized(square, (portrait_px, portrait_px)), self._min_score)
        seen[:, :14] *= side / portrait_px
        _shift(seen, left, top)
        seen[:, :14] /= scale
        voters = seen[overlap(face.box, seen[:, :4]) > VOTING_OVERLAP]
        return mean_landmarks(voters) if len(voters) else face.landmarks

    def _pixel(self, level_px: int) -> float:
        """Side of a pixel of a level, in pixels of the picture."""
        return max(self._size) / level_px

    def _scaled(self, level_px: int) -> tuple[int, int]:
        """Width and height of the picture at a level."""
        width, height = (max(1, round(side / self._pixel(level_px))) for side in self._size)
        return width, height

    @property
    def _whole_px(self) -> int:
        """The pixels of two looks at the whole picture, at the finest level and with the smallest first size."""
        finest_px = min(FINEST_PX, max(self._size))
        return sum(math.prod(self._scaled(side)) for side in (finest_px, min(FIRST_PX[0], finest_px)))

    def _read(self, picture: Image.Image, min_score: float) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """The network's candidates and hints of a picture."""
        self._read_px += picture.width * picture.height
        return self._network(picture, min_score)

    def _look_at(self, level_px: int) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """The candidates and the places (x, y) of the hints in the regions of a level, in pixels of the picture."""
        picture = self._picture
        width, height = self._scaled(level_px)
        across, down = picture.width / width, picture.height / height
        candidates: list[NDArray[np.float32]] = []
        places: list[NDArray[np.float32]] = []
        for region in self._regions or [(0, 0, width, height)]:
            left, top, right, bottom = region
            part = (right - left, bottom - top)
            box = (left * across, top * down, right * across, bottom * down)
            seen, hints = self._read(_resized(picture, part, box), min(MIN_HINT_SCORE, self._min_score))
            _shift(seen, left, top)
            candidates.append(seen if self._regions is None else seen[_fits(seen, region, width, height)])
            if hints is not None:
                places.append(_centres(hints >= MIN_HINTS.get(level_px, math.inf)) + np.array([left, top], np.float32))
        scale = np.array([self._size[0] / width, self._size[1] / height], np.float32)
        seen = np.concatenate(candidates)
        seen[:, :14] *= np.tile(scale, 7)
        return seen, np.concatenate(places) * scale if places else None

    def _plan(
        self, seen: NDArray[np.float32], hints: NDArray[np.float32], level_px: int, next_px: int
    ) -> list[Region] | None:
        """What to look at in the next level; None for the whole of it."""
        if self._max_faces is not None and len(self._settled) >= self._max_faces:
            return []
        max_px = MAX_HINT_PX * self._pixel(level_px)
        boxes = seen[seen[:, 2] < max_px, :4]
        for face in self._settled:
            boxes = boxes[~_belongs(boxes, face)]
            if face.box[2] < max_px or face.score >= SURE_SCORE:
                inside = (hints >= face.box[:2]) & (hints <= np.add(face.box[:2], face.box[2:]))
                hints = hints[~inside.all(axis=1)]
        marks = boxes[:, np.newaxis, :2] + boxes[:, np.newaxis, 2:] * _SHARES
        points = np.concatenate([hints, marks.reshape(-1, 2)]) / self._pixel(next_px)
        width, height = self._scaled(next_px)
        marked = np.zeros((-(-height // CELL_PX), -(-width // CELL_PX)), dtype=bool)
        columns, rows = (points // CELL_PX).astype(int).T
        marked[rows.clip(0, len(marked) - 1), columns.clip(0, marked.shape[1] - 1)] = True
        regions = [
            (
                max(0, left * CELL_PX - MARGIN_PX),
                max(0, top * CELL_PX - MARGIN_PX),
                min(width, right * CELL_PX + MARGIN_PX),
                min(height, bottom * CELL_PX + MARGIN_PX),
            )
            for left, top, right, bottom in regions_around(marked, 2 * MARGIN_PX // CELL_PX)
        ]
        area = sum((right - left) * (bottom - top) for left, top, right, bottom in regions)
        return None if area > MAX_SHARE * width * height else regions


_SHARES: Final = np.stack(np.meshgrid([0, 0.5, 1], [0, 0.5, 1]), axis=-1).reshape(9, 2).astype(np.float32)
"""Points of a box that are marked, as shares of its width and height."""


def _pyramid(longest: int) -> list[int]:
    """The levels, as longer sides; the close-up comes last."""
    finest = max(MIN_SIDE_PX, min(longest, FINEST_PX))
    first = next(side for side in FIRST_PX if finest <= MAX_STEP * side)
    if finest <= first:
        return [finest]
    return [first, finest] if first == FIRST_PX[0] else [first, finest, CLOSE_UP_PX]


def _belongs(candidates: NDArray[np.float32], face: Detection) -> NDArray[np.bool_]:
    """Which candidates are a face, or a part of it that looks like a face where the rest of it is not shown."""
    x, y, width, height = face.box
    middles = candidates[:, :2] + candidates[:, 2:4] / 2
    inside = ((middles > (x, y)) & (middles < (x + width, y + height))).all(axis=1)
    belongs: NDArray[np.bool_] = overlap(face.box, candidates[:, :4]) > NMS_OVERLAP
    return belongs | (inside & (candidates[:, 2] > width / 4))


def _resized(
    picture: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float] | None = None
) -> Image.Image:
    if picture.size == size:
        return picture
    return picture.resize(size, Image.Resampling.BILINEAR, box, reducing_gap=1.0)


def _shift(candidates: NDArray[np.float32], x: float, y: float) -> None:
    candidates[:, [0, 4, 6, 8, 10, 12]] += x
    candidates[:, [1, 5, 7, 9, 11, 13]] += y


def _fits(candidates: NDArray[np.float32], region: Region, width: int, height: int) -> NDArray[np.bool_]:
    """Which candidates are what a region is looked at for: not large, nor cut by a side that is not the picture's."""
    left, top, right, bottom = region
    lower, upper = candidates[:, :2], candidates[:, :2] + candidates[:, 2:4]
    fits: NDArray[np.bool_] = (
        (candidates[:, 2] < MAX_REGION_FACE_PX)
        & ((lower[:, 0] >= left) | (left == 0))
        & ((lower[:, 1] >= top) | (top == 0))
        & ((upper[:, 0] <= right) | (right == width))
        & ((upper[:, 1] <= bottom) | (bottom == height))
    )
    return fits


def _centres(cells: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(n, 2) x and y of the middles of cells, pixels."""
    rows, columns = np.nonzero(cells)
    return (np.stack([columns, rows], axis=1).astype(np.float32) + 0.5) * STRIDES[0]
