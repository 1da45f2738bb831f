r"""What small, blurred, cut off, turned and covered faces cost, and how often mien notices: for docs/quality.md.

    python benchmarks/quality.py ../shared/data/ferplus --studio ../shared/data/london-faces \
        --world ../shared/data/wild --plot docs/quality.png

Faces of FER+ validation are degraded as crops, those of the studio as photographs, which go through detection and
alignment. FER+ does not say how far a face is turned: there, the angles are those that mien measures. Nothing is fitted
here, and the photographs of the world are only read as they are.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import get_args

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from mien.index.bundle.bundle import Bundle, load_bundle
from mien.index.bundle.default import default_bundle
from mien.index.evaluation.groups import wilson_interval
from mien.index.fitting.drawn_coverings import SEEN, UNSEEN, Covering, cover, cover_photograph
from mien.index.mixture.covering import PARTS
from mien.model.datasets.ferplus import read_ferplus, read_near_copies
from mien.model.datasets.registry import read_dataset
from mien.model.emotions import UNLABELLED, labels
from mien.model.errors import NoFaceError
from mien.model.faces.quality import Fault, measure_quality
from mien.model.faces.reader import Face, whole_face
from mien.model.pipeline import Pipeline, load_pipeline

Greys = NDArray[np.uint8]

SIZES = (48, 40, 32, 28, 24, 20, 16, 12)
BLURS = (0.0, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
CUTS = (0.0, 0.1, 0.15, 0.2, 0.3, 0.4)
ROLLS = (0, 10, 20, 30, 45, 60, 90)
ANGLES = (0, 5, 10, 12, 15, 20, 30, 45, 90)
STUDIO_PX = 500
REASONS = ("untypical", *get_args(Fault), "mouth_covered", "eyes_covered")


@dataclass(frozen=True)
class Outcome:
    """Of n faces.

    Attributes:
        correct: (n,) whether the emotion is the label.
        reasons: (n, len(REASONS)) bool.
        quality: (n, 6) face_px, sharpness, yaw, pitch, roll and outside; NaN where unknown.
        tried: faces that were looked for.
    """

    correct: NDArray[np.bool_]
    reasons: NDArray[np.bool_]
    quality: NDArray[np.float64]
    tried: int

    def share(self, reason: str) -> float:
        """The share of the faces with a reason."""
        return float(self.reasons[:, REASONS.index(reason)].mean())

    def at(self, rows: NDArray[np.bool_]) -> "Outcome":
        """Some of the faces."""
        return Outcome(self.correct[rows], self.reasons[rows], self.quality[rows], int(rows.sum()))


class Measure:
    """Answers about faces, from one bundle."""

    def __init__(self, bundle: Bundle, pipeline: Pipeline) -> None:
        self.bundle, self.pipeline = bundle, pipeline

    def faces(self, faces: Sequence[Face], wanted: NDArray[np.int64], tried: int) -> Outcome:
        """The outcome on faces with labels."""
        if not faces:
            return Outcome(np.zeros(0, bool), np.zeros((0, len(REASONS)), bool), np.zeros((0, 6)), tried)
        crops = np.stack([face.crop for face in faces])
        points = self.pipeline.embedder.embed(crops)
        mixture, quality = self.bundle.mixture, measure_quality(faces)
        covered = np.zeros((len(faces), len(PARTS)), bool)
        if self.bundle.covering is not None:
            covered = self.bundle.covering.covered(crops, points)
        faults = np.array([[name in each.faults for name in get_args(Fault)] for each in quality])
        unknown = (mixture.typicality(points) < mixture.min_typicality)[:, None]
        return Outcome(
            mixture.distances(points).argmin(axis=1) == wanted,
            np.concatenate([unknown, faults, covered], axis=1),
            np.array([list(vars(each).values()) for each in quality], dtype=np.float64),
            tried,
        )

    def crops(self, crops: Greys, wanted: NDArray[np.int64]) -> Outcome:
        """The outcome on crops."""
        return self.faces([whole_face(crop) for crop in crops], wanted, len(crops))

    def photographs(self, photographs: Iterable[Greys], wanted: NDArray[np.int64]) -> Outcome:
        """The outcome on the largest face of each photograph in which one is found."""
        found, rows = [], []
        for row, photograph in enumerate(photographs):
            faces = self.pipeline.crop_faces(photograph)
            if faces:
                found.append(faces[0])
                rows.append(row)
        return self.faces(found, wanted[rows], len(wanted))


def main() -> None:
    """Measure, print the tables and draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of FER+")
    parser.add_argument("--studio", type=Path, required=True, help="folder with labels.csv: faces from the front")
    parser.add_argument("--world", type=Path, help="folder with labels.csv: any photographs")
    parser.add_argument("--bundle", type=Path, default=default_bundle(), help="default: the one that ships")
    parser.add_argument("--faces", type=int, default=1000, help="of FER+ validation (default: %(default)s)")
    parser.add_argument("--plot", type=Path, help="PNG file")
    arguments = parser.parse_args()

    bundle = load_bundle(arguments.bundle)
    measure = Measure(bundle, load_pipeline(bundle.embedder_path))
    kept = read_near_copies(arguments.data).without_leaks(read_ferplus(arguments.data, "PublicTest"))
    kept = kept.take(labels(kept.votes) != UNLABELLED)
    some = kept.take(np.sort(np.random.default_rng(0).permutation(len(kept))[: arguments.faces]))
    crops, wanted = some.images, labels(some.votes)
    studio = read_dataset("csv", arguments.studio)
    photographs = [_opened(path) for path in studio.paths]

    curves: dict[str, list[tuple[float, Outcome]]] = {
        "size": [(size, measure.crops(_each(crops, _reduced, size), wanted)) for size in SIZES],
        "blur": [(sigma, measure.crops(_each(crops, _blurred, sigma), wanted)) for sigma in BLURS],
        **{
            f"cut {side}": [(share, measure.faces(_cut(crops, side, share), wanted, len(crops))) for share in CUTS]
            for side in ("below", "above", "aside")
        },
    }
    for name, points in curves.items():
        _table(name, points)
    turned = measure.photographs((_enlarged(crop) for crop in kept.images), labels(kept.votes))
    for column, name in ((2, "yaw"), (3, "pitch"), (4, "roll")):
        angle = np.abs(turned.quality[:, column])
        curves[name] = [
            (low, turned.at((angle >= low) & (angle < high)))
            for low, high in pairwise(ANGLES)
            if ((angle >= low) & (angle < high)).any()
        ]
        _table(f"{name}, from this angle on, as measured", curves[name])
    shown = studio.labels
    curves["studio size"] = [
        (size, measure.photographs((_small(one, size) for one in photographs), shown)) for size in (200, *SIZES)
    ]
    curves["studio roll"] = [
        (turn, measure.photographs((_turned(one, turn) for one in photographs), shown)) for turn in ROLLS
    ]
    _table("studio, face of so many pixels", curves["studio size"])
    _table("studio, turned in the plane", curves["studio roll"])
    upright = np.median(curves["studio roll"][0][1].quality[:, 4])
    for turn, outcome in curves["studio roll"]:
        _write(f"turned by {turn:g}: roll {np.median(outcome.quality[:, 4]) - upright:.1f}, medians")
    _coverings(measure, crops, wanted, photographs, shown)
    _reasons("FER+ validation", measure.crops(kept.images, labels(kept.votes)))
    _reasons("studio", curves["studio size"][0][1])
    if arguments.world:
        world = read_dataset("csv", arguments.world)
        found = [_first(measure.pipeline, path) for path in world.paths]
        rows = [row for row, face in enumerate(found) if face is not None]
        faces = [face for face in found if face is not None]
        _reasons("world", measure.faces(faces, world.labels[rows], len(world)))
    if arguments.plot:
        _plot(arguments.plot, curves)


def _coverings(
    measure: Measure, crops: Greys, wanted: NDArray[np.int64], photographs: list[Greys], shown: NDArray[np.int64]
) -> None:
    """Accuracy on drawn coverings, and how often they are noticed, on crops and in photographs."""
    landmarks = [measure.pipeline.detector.detect(photograph)[0].landmarks for photograph in photographs]
    _write("\n| covering | fitted on | accuracy | known | noticed | studio: found | studio: noticed |")
    _write("|---|---|---|---|---|---|---|")

    def drawn(covering: Covering) -> Iterable[Greys]:
        for seed, (photograph, points) in enumerate(zip(photographs, landmarks, strict=True)):
            yield cover_photograph(photograph, covering, points, seed)

    for covering in (*SEEN, *UNSEEN):
        on_crops = measure.crops(cover(crops, covering, seed=0), wanted)
        studio, reason = measure.photographs(drawn(covering), shown), f"{covering.part}_covered"
        _write(
            f"| {covering.kind} | {'yes' if covering in SEEN else 'no'} | {on_crops.correct.mean():.3f} "
            f"| {1 - on_crops.share('untypical'):.3f} | {on_crops.share(reason):.3f} "
            f"| {len(studio.correct)} of {studio.tried} | {studio.share(reason):.2f} |"
        )


def _reasons(name: str, outcome: Outcome) -> None:
    """How many faces have each reason, and how accurate their answers are."""
    _write(
        f"\n| {name}: {len(outcome.correct)} faces | with it | accuracy with it | 95 % interval |\n|---|---|---|---|"
    )
    none = ~outcome.reasons.any(axis=1)
    columns = [(reason, outcome.reasons[:, column]) for column, reason in enumerate(REASONS)]
    for reason, rows in [("no reason", none), *columns]:
        if rows.any():
            accuracy = float(outcome.correct[rows].mean())
            low, high = wilson_interval(accuracy, int(rows.sum()))
            _write(f"| {reason} | {rows.mean():.3f} | {accuracy:.3f} | [{low:.3f}, {high:.3f}] |")


def _table(name: str, points: list[tuple[float, Outcome]]) -> None:
    _write(f"\n| {name} | faces | accuracy | 95 % interval | known | sharpness | {' | '.join(REASONS[1:5])} |")
    _write("|---|---|---|---|---|---|---|---|---|---|")
    for value, outcome in points:
        if len(outcome.correct) == 0:
            _write(f"| {value:g} | 0 of {outcome.tried} found |")
            continue
        accuracy = float(outcome.correct.mean())
        low, high = wilson_interval(accuracy, len(outcome.correct))
        _write(
            f"| {value:g} | {len(outcome.correct)} | {accuracy:.3f} | [{low:.3f}, {high:.3f}] "
            f"| {1 - outcome.share('untypical'):.3f} | {np.median(outcome.quality[:, 1]):.3f} | "
            + " | ".join(f"{outcome.share(reason):.2f}" for reason in REASONS[1:5])
            + " |"
        )


def _plot(path: Path, curves: dict[str, list[tuple[float, Outcome]]]) -> None:
    figure = Figure(figsize=(11, 6), dpi=100, layout="constrained")
    panels = (
        ("size", "side of the face, pixels", ("size", "studio size"), "small"),
        ("blur", "blur, sigma in pixels of the crop", ("blur",), "blurred"),
        ("cut off", "share of the face outside", ("cut below", "cut above", "cut aside"), "cut_off"),
        ("turned aside", "yaw, degrees", ("yaw",), "turned"),
        ("turned up or down", "pitch, degrees", ("pitch",), "turned"),
        ("leaning", "studio photograph turned by, degrees", ("studio roll",), "untypical"),
    )
    for axes, (title, unit, names, reason) in zip(figure.subplots(2, 3).flat, panels, strict=True):
        for name in names:
            points = [(value, outcome) for value, outcome in curves[name] if len(outcome.correct)]
            values = [value for value, _ in points]
            (line,) = axes.plot(
                values, [each.correct.mean() for _, each in points], marker="o", label=f"accuracy, {name}"
            )
            noticed = [each.share(reason) for _, each in points]
            axes.plot(values, noticed, ":", color=line.get_color(), label=f"{reason}, {name}")
        axes.set(title=title, xlabel=unit, ylim=(0, 1.02))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    figure.savefig(path)


def _each(crops: Greys, change: Callable[[Image.Image, float], Image.Image], degree: float) -> Greys:
    return np.stack([np.asarray(change(Image.fromarray(crop), degree)) for crop in crops])


def _reduced(crop: Image.Image, side: float) -> Image.Image:
    return crop if side == crop.width else crop.resize((round(side), round(side)), Image.Resampling.BOX)


def _blurred(crop: Image.Image, sigma: float) -> Image.Image:
    return crop.filter(ImageFilter.GaussianBlur(sigma)) if sigma else crop


def _cut(crops: Greys, side: str, share: float) -> list[Face]:
    """Faces of which a share lies outside the photograph: there, the crop repeats the photograph's edge."""
    cut, gone = crops.copy(), round(crops.shape[1] * share)
    for row in range(len(cut) if gone else 0):
        if side == "below":
            cut[row, -gone:] = cut[row, -gone - 1]
        elif side == "above":
            cut[row, :gone] = cut[row, gone]
        elif row % 2:
            cut[row, :, -gone:] = cut[row, :, -gone - 1, None]
        else:
            cut[row, :, :gone] = cut[row, :, gone, None]
    return [Face((0, 0, 48, 48), None, crop, outside=gone / crops.shape[1]) for crop in cut]


def _opened(path: Path) -> Greys:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB").resize((STUDIO_PX, STUDIO_PX), Image.Resampling.LANCZOS))


def _first(pipeline: Pipeline, path: Path) -> Face | None:
    try:
        return pipeline.read_faces(path.read_bytes())[0]
    except NoFaceError:
        return None


def _enlarged(crop: Greys) -> Greys:
    """A crop as a photograph that the detector can see."""
    return np.asarray(Image.fromarray(crop).convert("RGB").resize((240, 240), Image.Resampling.BICUBIC))


def _small(photograph: Greys, face_px: int) -> Greys:
    """A studio photograph whose face has about so many pixels; its square is 0.41 of the photograph's side."""
    side = round(face_px / 0.41)
    return np.asarray(Image.fromarray(photograph).resize((side, side), Image.Resampling.LANCZOS))


def _turned(photograph: Greys, degrees: int) -> Greys:
    """Turned clockwise."""
    picture = Image.fromarray(photograph)
    return np.asarray(picture.rotate(-degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=(255, 255, 255)))


def _write(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
