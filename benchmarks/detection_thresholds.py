"""What the thresholds of the search for faces lose and save, on composed pictures whose faces are known.

    python benchmarks/detection_thresholds.py ../shared/data GROUNDS first

GROUNDS is a folder of photographs without faces, such as those of scikit-image that ``mien.model.export.hints`` does
not name. ``first`` pastes faces of the first ten persons of london-faces, of Darwin's plates and of FER2013Train:
thresholds are chosen on them. ``second`` pastes the other persons and the photographs of the world, for a check.

Of the faces of 20 pixels and more that the finest level finds, the table gives the share that a threshold keeps, and
of the tiles of 64 pixels without a face the share that it looks at again.
"""

import argparse
import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
from detection_scenes import PastedFace, Scene, compose, sources_of
from numpy.typing import NDArray
from PIL import Image

from mien.model.faces.candidates import STRIDES, merge
from mien.model.faces.detection import Detector
from mien.model.faces.search import FINEST_PX, FIRST_PX, MAX_HINT_PX

LEVELS_PX: Final = ((FINEST_PX, FIRST_PX[1]), (2 * FIRST_PX[0], FIRST_PX[0]))
HINTS: Final = (-3.0, -2.5, -2.0, -1.7, -1.4, -1.1, -0.8, -0.5, 0.0)
SCORES: Final = (0.05, 0.1, 0.2, 0.3, 2.0)
TILE_PX: Final = 64
MIN_FACE_PX: Final = 20


def main() -> None:
    """Compose, look twice, and print what each pair of thresholds keeps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with london-faces, darwin, ferplus and wild")
    parser.add_argument("grounds", type=Path, help="folder of photographs without faces")
    parser.add_argument("persons", choices=["first", "second"], help="which faces are pasted")
    parser.add_argument("--pictures", type=int, default=30, help="of each size (default: 30)")
    arguments = parser.parse_args()

    london = sorted(arguments.data.glob("london-faces/*/*.jpg"))
    first = sorted({file.stem for file in london})[:10]
    if arguments.persons == "first":
        faces = [file for file in london if file.stem in first] + sorted(arguments.data.glob("darwin/*.jpg"))
        crops = sorted(arguments.data.glob("ferplus/FER2013Train/*.png"))[::400]
    else:
        faces = [file for file in london if file.stem not in first]
        crops = sorted(arguments.data.glob("wild/images/*.jpg"))[::20]
    sources = [*sources_of(faces), *sources_of(crops, min_px=30)]
    grounds = [np.asarray(Image.open(file).convert("RGB")) for file in sorted(arguments.grounds.iterdir())]
    detector = Detector()
    for finest_px, first_px in LEVELS_PX:
        size = (finest_px, finest_px * 3 // 4)
        kept: list[tuple[float, float]] = []
        empty: list[tuple[float, float]] = []
        for number in range(arguments.pictures):
            generator = np.random.default_rng([finest_px, number])
            scene = Scene("", size, 20, (16, 64), turn_deg=20, ground="photographs")
            file, pasted = compose(scene, sources, generator, grounds)
            with Image.open(BytesIO(file)) as picture:
                there, here = _strengths(detector, picture, pasted, first_px / finest_px)
            kept.extend(there)
            empty.extend(here)
        sys.stdout.write(f"\n{first_px} of {finest_px} px: {len(kept)} faces, {len(empty)} tiles\n")
        _print(np.array(kept), np.array(empty))


def _strengths(
    detector: Detector, picture: Image.Image, pasted: Sequence[PastedFace], scale: float
) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """The strongest hint and weak candidate at the first level, in each face and in each tile without any."""
    finds = merge(detector.candidates(picture))
    first = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BILINEAR)
    seen, hints = detector._look(first, min(SCORES))
    if hints is None:
        raise SystemExit("the detector must have hints, got one without")
    weak = seen[seen[:, 2] < MAX_HINT_PX]
    middles = (weak[:, :2] + weak[:, 2:4] / 2) / scale

    def strength(left: float, top: float, right: float, bottom: float) -> tuple[float, float]:
        cell = STRIDES[0] / scale
        part = hints[max(0, int(top / cell)) : int(bottom / cell) + 1, max(0, int(left / cell)) : int(right / cell) + 1]
        inside = ((middles >= (left, top)) & (middles <= (right, bottom))).all(axis=1)
        return float(part.max(initial=-99)), float(weak[inside, 14].max(initial=0))

    boxes = [(x, y, x + width, y + height) for x, y, width, height in (find.box for find in finds)]
    faces = [
        strength(*box)
        for box in boxes
        if box[2] - box[0] >= MIN_FACE_PX
        and any(np.abs(np.subtract(face.centre, _middle(box))).max() < face.width_px / 2 for face in pasted)
    ]
    reach = [
        (*np.subtract(face.centre, 1.5 * face.width_px), *np.add(face.centre, 1.5 * face.width_px)) for face in pasted
    ]
    tiles = [
        (left, top, left + TILE_PX, top + TILE_PX)
        for top in range(0, picture.height - TILE_PX + 1, TILE_PX)
        for left in range(0, picture.width - TILE_PX + 1, TILE_PX)
    ]
    return faces, [strength(*tile) for tile in tiles if not any(_meet(tile, box) for box in [*boxes, *reach])]


def _middle(box: tuple[float, float, float, float]) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _meet(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _print(faces: NDArray[np.float64], tiles: NDArray[np.float64]) -> None:
    """The shares of faces and tiles, for each threshold of hints (rows) and of scores (columns)."""
    sys.stdout.write(f"| hint | {' | '.join(f'score {score}' for score in SCORES)} |\n|{'---|' * (len(SCORES) + 1)}\n")
    for hint in HINTS:
        cells = []
        for score in SCORES:
            shares = [((part[:, 0] >= hint) | (part[:, 1] >= score)).mean() for part in (faces, tiles)]
            cells.append(f"{shares[0]:.3f}, {shares[1]:.3f}")
        sys.stdout.write(f"| {hint} | {' | '.join(cells)} |\n")


if __name__ == "__main__":
    main()
