"""How well and how fast faces are found: composed photographs whose faces are known, through the path that is served.

    python benchmarks/detection.py ../shared/data --pictures 4 --against ../mien-before --csv detection.csv

Faces of the studio photographs, of Darwin's plates and of the photographs of the world are pasted on made grounds and
on photographs (of scikit-learn): from 12 to 700 pixels wide, 1 to 80 in a picture, turned, cut by the border, in
pictures of 0.3 to 24 megapixels. Each picture is encoded as JPEG and read by ``FaceReader.read_faces``, by this version
of the project and by the one whose folder is given, in turns, each in a process of its own. For each scene it prints

- recall: share of the pasted faces that are found, in all and by their width in pixels
- false: boxes in a picture that belong to no pasted face
- landmarks: distance of the found landmarks from the true ones, in eye distances (mean over five, median over faces)
- moved: distance of the embedding of the found crop from that of the crop by the true landmarks (median over faces)
- CPU ms: user and system time of the process for a picture, decoding included (mean over pictures of the least time)
- ratio: that time, by the one of the other version; in brackets the lowest and the highest of a picture

True landmarks are the mean of what the detector finds at five sizes of the face in the photograph that it comes from.
The pictures depend on the seed and the sources alone, so that two versions can be compared picture by picture.
"""

import argparse
import csv
import math
import os
import pickle
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from detection_scenes import SCENES, PastedFace, compose, sources_of
from numpy.typing import NDArray

from mien.index.bundle.default import default_bundle
from mien.model.embedder.embedder import Embedder

WIDTHS_PX: Final = (12, 20, 30, 60, 120, 300, 701)
"""Edges of the groups of widths by which recall is printed."""

READER: Final = """
import pickle, sys, time
from mien.model.errors import NoFaceError
from mien.model.faces.decoding import DecodingLimits
from mien.model.faces.detection import Detector
from mien.model.faces.reader import FaceReader
reader = FaceReader(Detector(), DecodingLimits(max_bytes=2**27, max_pixels=2**26), None)
while True:
    file = pickle.load(sys.stdin.buffer)
    began = time.process_time()
    try:
        faces = reader.read_faces(file)
    except NoFaceError:
        faces = []
    took_s = time.process_time() - began
    pickle.dump((took_s, [(face.landmarks, face.crop) for face in faces]), sys.stdout.buffer)
    sys.stdout.flush()
"""
"""Reads the faces of one file after the other, with the version of the project that ``PYTHONPATH`` names."""

Found = list[tuple[NDArray[np.float32], NDArray[np.uint8]]]
"""(5, 2) landmarks in pixels of the picture, and the (48, 48) crop, of each face."""


class Version:
    """A version of the project, in a process of its own."""

    def __init__(self, folder: Path) -> None:
        """Start it."""
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", READER],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder.resolve())},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def read(self, file: bytes) -> tuple[float, Found]:
        """CPU seconds, and the faces."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("pipes must be open")
        pickle.dump(file, self._process.stdin)
        self._process.stdin.flush()
        took_s, found = pickle.load(self._process.stdout)  # noqa: S301  of the process that was started here
        return took_s, found

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


@dataclass
class Row:
    """The figures of one scene with one version."""

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
    parser.add_argument("--against", type=Path, help="folder of another version of the project, with its embedder")
    parser.add_argument("--pictures", type=int, default=4, help="of each scene (default: 4)")
    parser.add_argument("--rounds", type=int, default=3, help="readings of each picture by each version (default: 3)")
    parser.add_argument("--seed", type=int, default=0, help="of the pictures (default: 0)")
    parser.add_argument("--scene", action="append", help="only scenes whose name contains this; may be repeated")
    parser.add_argument("--csv", type=Path, help="also write the table to this file")
    arguments = parser.parse_args()

    files = [
        *sorted(arguments.data.glob("london-faces/*/*.jpg")),
        *sorted(arguments.data.glob("darwin/*.jpg")),
        *sorted(arguments.data.glob("wild/images/*.jpg"))[::20],
    ]
    sources = list(sources_of(files))
    sys.stderr.write(f"{len(sources)} faces to paste\n")
    embedder = Embedder(default_bundle() / "embedder.onnx", threads=1, provider="cpu")
    folders = {"now": Path(__file__).parents[1], **({"before": arguments.against} if arguments.against else {})}
    versions = {name: Version(folder) for name, folder in folders.items()}
    table = [_header()]
    for number, scene in enumerate(SCENES):
        if arguments.scene and not any(part in scene.name for part in arguments.scene):
            continue
        rows = {name: Row() for name in versions}
        for picture in range(arguments.pictures):
            generator = np.random.default_rng([arguments.seed, number, picture])
            file, pasted = compose(scene, sources, generator)
            readings: dict[str, list[tuple[float, Found]]] = {name: [] for name in versions}
            for turn in range(arguments.rounds + 1):
                for name in sorted(versions, reverse=bool(turn % 2)):
                    readings[name].append(versions[name].read(file))
            for name, row in rows.items():
                row.cpu_ms.append(1000 * min(took_s for took_s, _ in readings[name][1:]))
                _measure(row, pasted, readings[name][0][1], embedder)
        table += [_cells(scene.name, name, row, rows.get("before")) for name, row in reversed(rows.items())]
        sys.stderr.write(f"{table[-1]}\n")
    for version in versions.values():
        version.stop()
    for cells in (table[0], ["---"] * len(table[0]), *table[1:]):
        sys.stdout.write(f"| {' | '.join(cells)} |\n")
    if arguments.csv:
        with arguments.csv.open("w", newline="", encoding="utf-8") as file_out:
            csv.writer(file_out).writerows(table)


def _measure(row: Row, pasted: Sequence[PastedFace], found: Found, embedder: Embedder) -> None:
    free = list(range(len(found)))
    pairs: list[tuple[PastedFace, int]] = []
    for face in pasted:
        match = next((number for number in free if _is_same(face, found[number][0])), None)
        row.widths_px.append(face.width_px)
        row.hits.append(match is not None)
        if match is not None:
            free.remove(match)
            pairs.append((face, match))
    row.false.append(len(free))
    if not pairs:
        return
    true = embedder.embed(np.stack([face.crop for face, _ in pairs]))
    read = embedder.embed(np.stack([found[number][1] for _, number in pairs]))
    row.moved.extend(np.linalg.norm(true - read, axis=1).tolist())
    for face, number in pairs:
        eyes = math.dist(face.landmarks[0], face.landmarks[1])
        off = np.linalg.norm(found[number][0] - face.landmarks, axis=1).mean()
        row.landmarks.append(float(off) / eyes)


def _is_same(face: PastedFace, landmarks: NDArray[np.float32]) -> bool:
    """Whether found landmarks are those of a pasted face: centred within half its width, about as far apart."""
    off = math.dist(landmarks.mean(axis=0), face.landmarks.mean(axis=0))
    eyes, true = (math.dist(points[0], points[1]) for points in (landmarks, face.landmarks))
    return off < face.width_px / 2 and 0.4 < eyes / true < 2.5


def _header() -> list[str]:
    groups = [f"{low} to {high - 1} px" for low, high in pairwise(WIDTHS_PX)]
    return ["scene", "", "faces", "recall", *groups, "false", "landmarks", "moved", "CPU ms", "ratio"]


def _cells(scene: str, version: str, row: Row, before: Row | None) -> list[str]:
    widths_px, hits = np.array(row.widths_px), np.array(row.hits, dtype=bool)

    def recall(chosen: NDArray[np.bool_]) -> str:
        return f"{hits[chosen].mean():.3f}" if chosen.any() else ""

    def median(values: list[float]) -> str:
        return f"{statistics.median(values):.3f}" if values else ""

    groups = [recall((widths_px >= low) & (widths_px < high)) for low, high in pairwise(WIDTHS_PX)]
    ratio = ""
    if before is not None and before is not row:
        each = np.array(row.cpu_ms) / np.array(before.cpu_ms)
        ratio = f"{sum(row.cpu_ms) / sum(before.cpu_ms):.2f} ({each.min():.2f} to {each.max():.2f})"
    return [
        scene,
        version,
        str(len(hits)),
        recall(np.ones(len(hits), dtype=bool)),
        *groups,
        f"{statistics.mean(row.false):.2f}",
        median(row.landmarks),
        median(row.moved),
        f"{statistics.mean(row.cpu_ms):.0f}",
        ratio,
    ]


if __name__ == "__main__":
    main()
