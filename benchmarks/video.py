"""How fast and how well the faces of videos are followed: composed videos whose faces are known.

    python benchmarks/video.py ../shared/data [--seconds 4] [--every 1 2 3 5 8] [--rates [--before CHECKOUT]]

Each video (``video_scenes.py``: 640x480, 25 frames a second, H.264) is decoded as in the service, and its faces are
read with a search of the whole frame every n frames. It prints, for each scene and n,

- found: share of the faces in the frames that are found
- late: frames from a face's appearance to its first box (mean, and most)
- false: boxes in a frame that belong to no face
- searched, embedded: share of the frames whose whole is searched; of the faces found that are embedded
- overlap: intersection over union of a box with that of the search of each frame (median, lowest tenth)
- moved: distance of the embedding from that of the search of each frame (median, highest tenth)
- from truth: its distance from that of the crop by the true landmarks (median)
- same emotion: share of the faces that have the emotion that the search of each frame gives
- CPU ms: of reading and embedding the faces of a frame, without decoding

With ``--rates``, CPU time for a frame of ``/classify/video`` and ``WS /stream``, of all processes of the service, from
the file to the answer; and how many times faster than 25 frames a second that is on one core.
"""

import argparse
import asyncio
import math
import statistics
import sys
import time
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from detection_scenes import PastedFace
from numpy.typing import NDArray
from payloads import request
from PIL import Image
from served import mien
from video_scenes import FPS, SCENES, Person, VideoScene, compose, encode, read_people

from mien.index.bundle.bundle import load_bundle
from mien.index.bundle.default import default_bundle
from mien.model.faces.box import Box
from mien.model.faces.reader import Face
from mien.model.pipeline import Pipeline, load_pipeline
from mien.model.video.decoder import Video, VideoEnd, VideoFrame
from mien.model.video.follower import FaceFollower

RATED: Final = ("one face, speaking", "five faces")
"""The scenes whose rates are measured."""

Truth = list[list[tuple[int, PastedFace]]]


@dataclass
class Reading:
    """The faces of the frames of one video: boxes and embeddings of each frame, and what they took."""

    faces: list[list[Face]] = field(default_factory=list)
    embeddings: list[NDArray[np.float32]] = field(default_factory=list)
    embedded: int = 0
    searched: int = 0
    cpu_ms: list[float] = field(default_factory=list)


def main() -> None:
    """Compose, read, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with london-faces")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each video (default: 4)")
    parser.add_argument("--every", type=int, nargs="+", default=[1, 3], help="frames between searches (default: 1 3)")
    parser.add_argument("--scene", action="append", help="only scenes whose name contains this; may be repeated")
    parser.add_argument("--rates", action="store_true", help="measure the service in place of the accuracy")
    parser.add_argument("--rounds", type=int, default=3, help="of the rates (default: 3)")
    parser.add_argument("--before", type=Path, help="also the rates of this checkout of the project")
    arguments = parser.parse_args()
    people = read_people(arguments.data)
    chosen = [scene for scene in SCENES if not arguments.scene or any(part in scene.name for part in arguments.scene)]
    if arguments.rates:
        _print_rates([scene for scene in chosen if scene.name in RATED], people, arguments)
        return
    bundle = load_bundle(default_bundle())
    pipeline = load_pipeline(bundle.embedder_path, threads=1, provider="cpu")
    header = ["scene", "n", "found", "late", "false", "searched", "embedded", "overlap", "moved", "from truth"]
    _print([*header, "same emotion", "CPU ms"])
    _print(["---"] * 12)
    for scene in chosen:
        composed = list(compose(scene, people, arguments.seconds))
        truth = [faces for _, faces in composed]
        decoded = _decode(encode([frame for frame, _ in composed]))
        every_frame = _read(pipeline, decoded, 1)
        for every in arguments.every:
            reading = _read(pipeline, decoded, every)
            _print([scene.name, str(every), *_cells(reading, every_frame, truth, pipeline, bundle.mixture)])


def _print(cells: list[str]) -> None:
    sys.stdout.write(f"| {' | '.join(cells)} |\n")
    sys.stdout.flush()


def _decode(file: bytes) -> list[VideoFrame]:
    frames = []
    with Video(file, FPS) as video:
        while not isinstance(step := video.step(), VideoEnd):
            if step is not None:
                frames.append(step)
    return frames


def _read(pipeline: Pipeline, frames: list[VideoFrame], every: int) -> Reading:
    """Follow the faces; those that are the same objects as in the last frame are not embedded again."""
    follower, found = FaceFollower(pipeline, detect_every=every), Reading()
    known: dict[int, tuple[Face, NDArray[np.float32]]] = {}
    for frame in frames:
        began = time.process_time()
        faces = follower.read(frame.image, frame.time_s)
        fresh = [face for face in faces if id(face) not in known]
        points = list(pipeline.embed(fresh)) if fresh else []
        found.cpu_ms.append(1000 * (time.process_time() - began))
        known = {id(face): known[id(face)] for face in faces if id(face) in known} | {
            id(face): (face, point) for face, point in zip(fresh, points, strict=True)
        }
        found.embedded += len(fresh)
        found.faces.append(faces)
        found.embeddings.append(np.array([known[id(face)][1] for face in faces]).reshape(len(faces), -1))
    found.searched = follower.searched
    return found


def _cells(reading: Reading, every_frame: Reading, truth: Truth, pipeline: Pipeline, mixture: Any) -> list[str]:
    present = found = false = 0
    late: list[int] = []
    waiting: dict[int, int] = {}
    overlap, moved, from_truth, same = [], [], [], []
    before: set[int] = set()
    for number, true in enumerate(truth):
        pairs = _match([face for _, face in true], reading.faces[number])
        reference = _match([face for _, face in true], every_frame.faces[number])
        now = {person for person, _ in true}
        waiting = {person: since for person, since in waiting.items() if person in now}
        waiting |= dict.fromkeys(now - before, number)
        before = now
        present, found = present + len(true), found + len(pairs)
        false += len(reading.faces[number]) - len(pairs)
        for row, face in pairs.items():
            if true[row][0] in waiting:
                late.append(number - waiting.pop(true[row][0]))
            point = reading.embeddings[number][face]
            from_truth.append(float(np.linalg.norm(point - pipeline.embedder.embed(true[row][1].crop[None])[0])))
            if row in reference:
                other = every_frame.embeddings[number][reference[row]]
                overlap.append(_overlap(reading.faces[number][face].box, every_frame.faces[number][reference[row]].box))
                moved.append(float(np.linalg.norm(point - other)))
                both = mixture.posterior(np.stack([point, other])).argmax(axis=1)
                same.append(bool(both[0] == both[1]))
    count = sum(map(len, reading.faces))
    return [
        f"{found / present:.3f}",
        f"{statistics.mean(late):.1f}, {max(late)}",
        str(false),
        f"{reading.searched / len(truth):.2f}",
        f"{reading.embedded / count:.2f}",
        f"{np.median(overlap):.2f}, {np.quantile(overlap, 0.1):.2f}",
        f"{np.median(moved):.2f}, {np.quantile(moved, 0.9):.2f}",
        f"{np.median(from_truth):.2f}",
        f"{np.mean(same):.3f}",
        f"{statistics.mean(reading.cpu_ms):.1f}",
    ]


def _match(true: list[PastedFace], found: list[Face]) -> dict[int, int]:
    """Row of each true face to that of the found one nearest to it, which is less than half a face away."""
    pairs: dict[int, int] = {}
    for row, face in enumerate(true):
        away = {
            column: math.dist(other.landmarks.mean(axis=0), face.landmarks.mean(axis=0))
            for column, other in enumerate(found)
            if column not in pairs.values() and other.landmarks is not None
        }
        if away and min(away.values()) < face.width_px / 2:
            pairs[row] = min(away, key=away.__getitem__)
    return pairs


def _overlap(box: Box, other: Box) -> float:
    across = min(box[0] + box[2], other[0] + other[2]) - max(box[0], other[0])
    down = min(box[1] + box[3], other[1] + other[3]) - max(box[1], other[1])
    shared = max(0.0, across) * max(0.0, down)
    return shared / (box[2] * box[3] + other[2] * other[3] - shared)


def _print_rates(scenes: list[VideoScene], people: list[Person], arguments: argparse.Namespace) -> None:
    """The rates of each version, which take turns: the median of the rounds."""
    versions: dict[str, tuple[list[str], Path | None]] = {
        f"n = {every}": ([f"--detect-every={every}"], None) for every in arguments.every
    }
    if arguments.before:
        versions = {"before": ([], arguments.before)} | versions
    _print(["scene", "", *(f"{name}: {figure}" for name in versions for figure in ("CPU ms a frame", "x real time"))])
    _print(["---"] * (2 + 2 * len(versions)))
    for scene in scenes:
        frames = [frame for frame, _ in compose(scene, people, arguments.seconds)]
        cpu_ms: dict[tuple[str, str], list[float]] = {}
        for _ in range(arguments.rounds):
            for name, (options, checkout) in versions.items():
                for path, found in _cpu_ms(frames, options, checkout).items():
                    cpu_ms.setdefault((path, name), []).append(found)
        for path in dict.fromkeys(path for path, _ in cpu_ms):
            medians = [statistics.median(cpu_ms[path, name]) for name in versions]
            figures = [f"{figure:.1f}" for each in medians for figure in (each, 1000 / FPS / each)]
            _print([scene.name, path, *figures])


def _cpu_ms(frames: list[NDArray[np.uint8]], options: list[str], checkout: Path | None) -> dict[str, float]:
    """CPU milliseconds for each frame, of all processes of the service."""
    file = request(f"/classify/video?fps={FPS}", [("video", encode(frames))])
    pictures = [_jpeg(frame) for frame in frames]
    found = {}
    with mien(["--stream-fps=1000", "--workers=1", *options], checkout) as server:
        asyncio.run(_send_video(server.port, request("/classify/video?fps=1", [("video", encode(frames))])))
        before = server.cpu_s()
        asyncio.run(_send_video(server.port, file))
        found["/classify/video"] = 1000 * (server.cpu_s() - before) / len(frames)
        _send_frames(server.port, pictures[:5])
        before = server.cpu_s()
        _send_frames(server.port, pictures)
        found["/stream"] = 1000 * (server.cpu_s() - before) / len(frames)
    return found


def _jpeg(frame: NDArray[np.uint8]) -> bytes:
    file = BytesIO()
    Image.fromarray(frame).save(file, "JPEG", quality=85)
    return file.getvalue()


async def _send_video(port: int, sent: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
    answer = await reader.read()
    writer.close()
    if b'"complete":true' not in answer:
        raise SystemExit(f"the video was not answered: {answer[:500]!r}")


def _send_frames(port: int, pictures: list[bytes]) -> None:
    from websockets.sync.client import connect

    with connect(f"ws://127.0.0.1:{port}/stream") as stream:
        for picture in pictures:
            stream.send(picture)
            stream.recv()


if __name__ == "__main__":
    main()
