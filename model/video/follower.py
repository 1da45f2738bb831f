"""Following: the faces of successive frames, most of which are found near their last places.

The whole frame is searched every few frames, and also where the scene changes or a face is lost. In between, each face
is searched for in a small square around its last place; one whose pixels stay the same is not searched for at all.
"""

from dataclasses import dataclass
from threading import Lock
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.model.faces.box import Box, clip
from mien.model.faces.detection import Detection, merge
from mien.model.faces.reader import Face, FaceReader, cut_out
from mien.model.faces.search import SEEN_IN_FRAME_PX
from mien.model.video.tracker import DETECT_EVERY

MAX_INTERVAL_S: Final = 0.5
"""Longest time from one such search to the next: of a video with one frame a second, each is searched."""

TILE_PX: Final = 128
"""Side to which the square around a face is scaled for the detector."""

TILE_FACES: Final = 2.2
"""Side of that square, in faces: a face is found in it that has moved by up to 0.6 of its size."""

MAX_FOLLOWED: Final = 10
"""Faces in a frame above which the whole frame is searched every time, since that takes less time than the squares."""

MAX_GROWTH: Final = 1.5
"""Largest factor by which the size of a face changes between two frames; else it is taken for another one."""

MAX_STEP: Final = 0.8
"""How far a face moves between two frames at most, in faces."""

SAME_STEP: Final = 0.2
"""Two boxes of one frame that are nearer than this, in faces, are the same face."""

CUT_LEVELS: Final = 25.0
"""Mean difference of two frames, in grey levels, above which the scene has changed."""

LOOK_PX: Final = 24
"""Rows and columns of means by which the pixels of a face are compared."""

SAME_LEVELS: Final = 3.0
"""Largest difference of such a mean, in grey levels, up to which a face is the same."""


@dataclass(frozen=True)
class _Followed:
    face: Face
    look: NDArray[np.int16]  # (LOOK_PX, LOOK_PX) of the frame in which it was found


class FaceFollower:
    """Reads the faces of the frames of one video, one after the other, whatever threads they are read in.

    Attributes:
        searched: frames so far whose whole was searched.
    """

    def __init__(self, reader: FaceReader, *, detect_every: int = DETECT_EVERY, max_faces: int | None = None) -> None:
        """Start before the first frame.

        Args:
            reader: finds the faces of whole frames.
            detect_every: frames from one search of the whole frame to the next; 1 searches each.
            max_faces: the largest faces that are read and followed; None reads all that ``reader`` reads.
        """
        self._reader = reader
        self._detect_every = detect_every
        self._max_faces = max_faces
        self.searched = 0
        self._lock = Lock()
        self._followed: list[_Followed] = []
        self._shape: tuple[int, ...] = ()
        self._scene: NDArray[np.int16] | None = None
        self._frames_since = 0
        self._searched_s = 0.0

    def read(self, image: NDArray[np.uint8], time_s: float) -> list[Face]:
        """Read the faces of the next frame.

        Args:
            image: (h, w, 3) uint8 RGB, upright.
            time_s: of the frame; not before that of the last one.

        Returns:
            The faces, largest box first; may be empty. A face whose pixels have not changed since it was found is the
            same object as for the last frame.
        """
        with self._lock:
            return self._read(image, time_s)

    def _read(self, image: NDArray[np.uint8], time_s: float) -> list[Face]:
        if image.shape != self._shape:
            self._shape, self._followed, self._scene = image.shape, [], None
        scene = _sample(image)
        is_due = self._is_due(scene, time_s)
        self._scene = scene
        self._frames_since += 1
        followed = None if is_due else self._follow(image)
        if followed is None:
            followed = self._search(image)
            self.searched += 1
            self._frames_since, self._searched_s = 0, time_s
        followed.sort(key=lambda each: each.face.box[2] * each.face.box[3], reverse=True)
        self._followed = followed
        return [each.face for each in followed]

    def _is_due(self, scene: NDArray[np.int16], time_s: float) -> bool:
        """Whether the whole frame is to be searched."""
        return (
            self._scene is None
            or self._frames_since + 1 >= self._detect_every
            or time_s - self._searched_s >= MAX_INTERVAL_S
            or len(self._followed) > MAX_FOLLOWED
            or float(np.abs(scene - self._scene).mean()) > CUT_LEVELS
        )

    def _search(self, image: NDArray[np.uint8]) -> list[_Followed]:
        """The faces of the whole frame; those that look as they did are kept."""
        same = [each for each in self._followed if _is_same(image, each)]
        found = []
        for face in self._reader.crop_faces(image, self._max_faces, min_seen_px=SEEN_IN_FRAME_PX):
            known = next((each for each in same if _is_near(face.box, each.face.box, SAME_STEP)), None)
            found.append(known or _Followed(face, _look(image, face.box)))
        return found

    def _follow(self, image: NDArray[np.uint8]) -> list[_Followed] | None:
        """The followed faces in the next frame; None where one is lost."""
        same = [each for each in self._followed if _is_same(image, each)]
        changed = [each for each in self._followed if all(each is not other for other in same)]
        detections = self._detect_around(image, [each.face.box for each in changed])
        if detections is None:
            return None
        for detection in detections:
            face = cut_out(image, detection)
            same.append(_Followed(face, _look(image, face.box)))
        boxes = [each.face.box for each in same]
        if any(_is_near(box, other, SAME_STEP) for row, box in enumerate(boxes) for other in boxes[:row]):
            return None  # two faces have become one
        return same

    def _detect_around(self, image: NDArray[np.uint8], boxes: list[Box]) -> list[Detection] | None:
        """The face near each of some boxes, found in one run of the detector; None where one has none."""
        if not boxes:
            return []
        height, width = image.shape[:2]
        picture = Image.new("RGB", (TILE_PX * len(boxes), TILE_PX))
        places = []
        for column, (x, y, box_width, box_height) in enumerate(boxes):
            side = TILE_FACES * max(box_width, box_height)
            corner = x + (box_width - side) / 2, y + (box_height - side) / 2
            left, top, inside_width, inside_height = (
                round(each) for each in clip((*corner, side, side), width, height)
            )
            if inside_width < 1 or inside_height < 1:
                return None
            region = Image.fromarray(np.ascontiguousarray(image[top : top + inside_height, left : left + inside_width]))
            scale = side / TILE_PX
            size = max(1, round(region.width / scale)), max(1, round(region.height / scale))
            picture.paste(region.resize(size, Image.Resampling.BILINEAR, reducing_gap=1.0), (column * TILE_PX, 0))
            places.append((left, top, region.width / size[0], region.height / size[1]))
        candidates = self._reader.detector.candidates(picture)
        columns = (candidates[:, 0] + candidates[:, 2] / 2) // TILE_PX
        found = []
        for column, ((left, top, x_scale, y_scale), box) in enumerate(zip(places, boxes, strict=True)):
            own = candidates[columns == column]
            own[:, 0:14:2] = own[:, 0:14:2] * x_scale
            own[:, 1:14:2] = own[:, 1:14:2] * y_scale
            own[:, [0, *range(4, 14, 2)]] += left - column * TILE_PX * x_scale
            own[:, [1, *range(5, 14, 2)]] += top
            inside = [each for each in merge(own) if min(clip(each.box, width, height)[2:]) > 0]
            near = [each for each in inside if _is_near(each.box, box, MAX_STEP)]
            if not near:
                return None
            found.append(min(near, key=lambda each: _step(each.box, box)))
        return found


def _sample(image: NDArray[np.uint8]) -> NDArray[np.int16]:
    """About 40 pixels along the longer side, of green."""
    step = max(1, max(image.shape[:2]) // 40)
    return image[::step, ::step, 1].astype(np.int16)


def _look(image: NDArray[np.uint8], box: Box) -> NDArray[np.int16]:
    """(LOOK_PX, LOOK_PX) means of the green of a face."""
    x, y, width, height = box
    left, top = int(x), int(y)
    region = image[top : max(top + 1, round(y + height)), left : max(left + 1, round(x + width)), 1]
    means = Image.fromarray(np.ascontiguousarray(region)).resize((LOOK_PX, LOOK_PX), Image.Resampling.BOX)
    return np.asarray(means, np.int16)


def _is_same(image: NDArray[np.uint8], followed: _Followed) -> bool:
    return bool(np.abs(_look(image, followed.face.box) - followed.look).max() <= SAME_LEVELS)


def _step(box: Box, other: Box) -> float:
    """How far apart the middles of two boxes are, in faces."""
    (x, y, width, height), (other_x, other_y, other_width, other_height) = box, other
    across, down = x + width / 2 - other_x - other_width / 2, y + height / 2 - other_y - other_height / 2
    return float(np.hypot(across, down)) / max(width, height, other_width, other_height)


def _is_near(box: Box, other: Box, step: float) -> bool:
    """Whether two boxes are at most ``step`` faces apart and of about the same size."""
    growth = max(box[2:]) / max(*other[2:], 1e-9)
    return _step(box, other) <= step and 1 / MAX_GROWTH < growth < MAX_GROWTH
