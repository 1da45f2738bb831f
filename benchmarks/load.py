"""The service under load, against a bare loop and alternatives.

    python benchmarks/load.py PHOTOGRAPH... [--seconds 8] [--parts crops photographs plain ...] [--soak 600]

Each part starts its servers, drives them with an open-loop generator (``generator.py``) and measures in the same run
the bare cost of the same work on the same cores; only the ratios matter. Figures are kept in ``--figures``, part by
part; after each part, table and plot of all parts are written again (``load_report.py``). Missing environments of the
alternatives are created (``alternatives.py``).

Payloads are made from the photographs (``payloads.py``). As many requests are sent at once as the service admits: more
would measure how fast it refuses.

CPU milliseconds per image are those of the processes that answer; other work on the machine affects them little.
"""

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import alternatives
import numpy as np
from generator import drive
from load_report import write_report
from payloads import CLASSIFY_CROP, CLIP_FRAMES, Photographs, request, requests_of, requests_of_several
from served import Served, mien

from mien.index.bundle.bundle import load_bundle
from mien.index.bundle.default import default_bundle
from mien.index.gallery.vectors.flat import search_single_threaded
from mien.model.embedder.embedder import Embedder
from mien.model.pipeline import load_pipeline

ONE_CALLER: Final = ("--caller-share=1", "--max-images=32")
"""Options of the service: the generator is one caller, who may take all that the service admits."""

BATCHES: Final = (1, 2, 4, 8, 16, 32)

HERE: Final = Path(__file__).parent

Files = Callable[[Photographs], list[bytes]]


@dataclass(frozen=True)
class Kind:
    """A kind of request, and what it is compared with.

    Attributes:
        files: images, or the video.
        path: of the service.
        images: of a request; frames of a video.
        connections: requests that are sent at once to find the highest rate.
        is_alone: one image in a request, which alternatives take, too.
        with_latencies: the rates of 70 % and 200 % of the highest are measured, too.
    """

    files: Files
    path: str = "/classify"
    images: int = 1
    connections: int = 8
    is_alone: bool = True
    with_latencies: bool = False

    def requests(self, photographs: Photographs) -> list[bytes]:
        """The requests to the service."""
        files = self.files(photographs)
        if self.is_alone:
            return requests_of(self.path, files)
        if self.path.startswith(VIDEO):
            return [request(self.path, [("video", file)]) for file in files]
        return requests_of_several(self.path, files, self.images)


VIDEO: Final = "/classify/video"

KINDS: Final[Mapping[str, Kind]] = {
    "crops": Kind(Photographs.crops, CLASSIFY_CROP, connections=32, with_latencies=True),
    "8 crops": Kind(Photographs.crops, CLASSIFY_CROP, 8, is_alone=False),
    "32 crops": Kind(Photographs.crops, CLASSIFY_CROP, 32, connections=2, is_alone=False),
    "photographs": Kind(Photographs.small, "/retrieve", connections=32, with_latencies=True),
    "1 MP": Kind(lambda photographs: photographs.portraits(1000)),
    "12 MP": Kind(Photographs.large),
    "group": Kind(lambda photographs: [photographs.group()], connections=2),
    "video": Kind(
        lambda photographs: [photographs.clip()], f"{VIDEO}?fps=25", CLIP_FRAMES, connections=2, is_alone=False
    ),
}


def main() -> None:
    """Measure, keep the figures, and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("photographs", type=Path, nargs="+")
    parser.add_argument("--seconds", type=float, default=8.0, help="Seconds of each measurement.")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="Parts to measure.")
    parser.add_argument("--soak", type=float, default=0.0, help="Seconds under load in which memory is measured.")
    parser.add_argument("--soak-rate", type=float, help="Requests per second (default: twice the highest rate).")
    parser.add_argument("--figures", type=Path, default=Path("load-figures"), help="Folder of figures, table and plot.")
    parser.add_argument(
        "--environments",
        type=Path,
        default=Path("load-environments"),
        help="Folder of environments.",
    )
    parser.add_argument("--deepface-weights", type=Path, help=f"Path of {alternatives.DEEPFACE_WEIGHTS}.")
    parser.add_argument(
        "--option", action="append", default=[], help="Option of mien serve, such as --option=--batch-faces=4."
    )
    arguments = parser.parse_args()
    arguments.figures.mkdir(parents=True, exist_ok=True)
    kept = arguments.figures / "load.json"
    photographs = Photographs(arguments.photographs)
    for part in [*arguments.parts, *(["soak"] if arguments.soak else [])]:
        load_before = os.getloadavg()[0]
        found = (measure_soak if part == "soak" else PARTS[part])(photographs, arguments)
        figures = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
        figures[part] = found | {
            "cores": os.cpu_count(),
            "load_average": [load_before, os.getloadavg()[0]],
            "measurement_s": arguments.seconds,
        }
        kept.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        write_report(figures, arguments.figures)
    sys.stdout.write((arguments.figures / "load.md").read_text(encoding="utf-8"))


def measure_kind(kind: Kind, photographs: Photographs, arguments: argparse.Namespace) -> dict[str, Any]:
    """One kind of request to the service, between two runs of the bare loop."""
    try:
        requests = kind.requests(photographs)
    except ImportError as error:
        return {"skipped": f"it needs {error.name}"}
    before = bare(kind, photographs, arguments.seconds)
    with mien([*ONE_CALLER, *arguments.option]) as server:
        found = measure_load(server, kind, requests, arguments.seconds)
        found["ready_s"] = server.ready_s
    return {"bare": [before, bare(kind, photographs, arguments.seconds)] if before else [], "mien": found}


def measure_processes(photographs: Photographs, arguments: argparse.Namespace) -> dict[str, Any]:
    """Some kinds of requests to one and to two processes; only the highest rates."""
    found: dict[str, Any] = {}
    for processes in (1, 2):
        with mien([*ONE_CALLER, *arguments.option, f"--processes={processes}"]) as server:
            for name in ("crops", "8 crops", "photographs"):
                kind = KINDS[name]
                found[f"{name}; processes: {processes}"] = highest(
                    server, kind, kind.requests(photographs), arguments.seconds
                )
    return found


def measure_plain(photographs: Photographs, arguments: argparse.Namespace) -> dict[str, Any]:
    """A plain FastAPI handler around the same network, and around the same pipeline."""
    with Served([sys.executable, str(HERE / "plain.py"), "serve", "--port"]) as server:
        return _all_kinds(server, photographs, arguments.seconds)


def measure_fer(photographs: Photographs, arguments: argparse.Namespace) -> dict[str, Any]:
    """The package fer behind FastAPI."""
    python = alternatives.fer_environment(arguments.environments)
    with Served([str(python), str(HERE / "fer_app.py"), "serve", "--port"]) as server:
        return _all_kinds(server, photographs, arguments.seconds)


def _all_kinds(server: Served, photographs: Photographs, seconds: float) -> dict[str, Any]:
    """Every kind with one image in a request."""
    return {
        name: measure_load(
            server,
            kind,
            requests_of(kind.path.replace("/retrieve", "/classify"), kind.files(photographs)),
            seconds,
            overload=False,
        )
        for name, kind in KINDS.items()
        if kind.is_alone
    }


def measure_deepface(photographs: Photographs, arguments: argparse.Namespace) -> dict[str, Any]:
    """DeepFace's own API, if its weights are given: it would download them at its first answer."""
    if arguments.deepface_weights is None:
        return {"skipped": f"it needs {alternatives.DEEPFACE_WEIGHTS}, which no package has (--deepface-weights)"}
    python = alternatives.deepface_environment(arguments.environments, arguments.deepface_weights)
    command = [str(python.parent / "gunicorn"), "--workers", str(os.cpu_count()), "--timeout", "120"]
    address = ["deepface.api.src.app:create_app()", "--bind"]
    home = {"DEEPFACE_HOME": str(alternatives.deepface_home(arguments.environments).resolve())}

    def analyse(file: bytes, detector: str) -> bytes:
        texts = {"actions": '["emotion"]', "detector_backend": detector, "enforce_detection": "false"}
        return request("/analyze", [("img", file)], texts)

    found = {}
    with Served([*command, *address], home, ready="/", address="127.0.0.1:{}") as server:
        for name, detector in (("crops", "skip"), ("photographs", "opencv")):
            requests = [analyse(file, detector) for file in KINDS[name].files(photographs)]
            found[name] = measure_load(server, KINDS[name], requests, arguments.seconds, overload=False)
    return found


def measure_soak(photographs: Photographs, arguments: argparse.Namespace) -> dict[str, Any]:
    """Memory of the service each second under load."""
    kind = KINDS["crops"]
    requests = kind.requests(photographs)
    with mien([*ONE_CALLER, *arguments.option]) as server:
        rate = arguments.soak_rate or 2 * highest(server, kind, requests, arguments.seconds)["answers_per_s"]
        resident: list[float] = []
        over = threading.Event()

        def watch() -> None:
            while not over.wait(1.0):
                resident.append(round(server.resident_mb(), 2))

        watching = threading.Thread(target=watch)
        watching.start()
        try:
            driven = drive(server.port, requests, rate, arguments.soak)
        finally:
            over.set()
            watching.join()
    return {"rate": rate, "seconds": arguments.soak, "resident_mb": resident, "statuses": driven["statuses"]}


PARTS: Final[Mapping[str, Callable[[Photographs, argparse.Namespace], dict[str, Any]]]] = {
    **{name: partial(measure_kind, kind) for name, kind in KINDS.items()},
    "processes": measure_processes,
    "plain": measure_plain,
    "fer": measure_fer,
    "deepface": measure_deepface,
}


def bare(kind: Kind, photographs: Photographs, seconds: float) -> dict[str, Any] | None:
    """The same work in a plain loop on every core; of a video there is none."""
    if kind.path.startswith(VIDEO):
        return None
    return bare_crops(seconds) if "already_cropped" in kind.path else bare_pictures(kind.files(photographs), seconds)


def bare_crops(seconds: float) -> dict[str, Any]:
    """Faces per second of the bare network, at the best batch size and the better of two ways to use the cores."""
    path, cores = default_bundle() / "embedder.onnx", os.cpu_count() or 1
    figures = []
    for threads, loops in {(cores, 1), (1, cores)}:
        embedder = Embedder(path, threads=threads, provider="cpu")
        for batch in BATCHES:
            faces = np.random.default_rng(0).integers(0, 256, (batch, 48, 48), dtype=np.uint8)
            rate, cpu_ms = _loops(lambda: embedder.embed(faces), loops, seconds / len(BATCHES) / 2)  # noqa: B023
            figures.append(
                {
                    "threads": threads,
                    "loops": loops,
                    "batch": batch,
                    "per_s": rate * batch,
                    "cpu_ms": cpu_ms / batch,
                }
            )
    return max(figures, key=lambda figure: figure["per_s"]) | {
        "least_cpu_ms": min(figure["cpu_ms"] for figure in figures)
    }


def bare_pictures(pictures: list[bytes], seconds: float) -> dict[str, float]:
    """Photographs per second of decode, detect, align, embed and search in a plain loop on every core."""
    bundle = load_bundle(default_bundle())
    pipeline = load_pipeline(bundle.embedder_path, threads=1, provider="cpu")
    count = iter(range(10**9))

    def one() -> None:
        picture = pictures[next(count) % len(pictures)]
        embeddings = pipeline.embed(pipeline.read_faces(picture))
        bundle.mixture.distances(embeddings)
        bundle.gallery.search(embeddings, 10)

    rate, cpu_ms = _loops(one, os.cpu_count() or 1, seconds)
    return {"per_s": rate, "cpu_ms": cpu_ms}


def _loops(work: Callable[[], object], loops: int, seconds: float) -> tuple[float, float]:
    """Runs per second of ``work`` in as many threads as ``loops``, and CPU milliseconds of each."""
    work()
    done = [0] * loops
    end = time.monotonic() + seconds

    def loop(number: int) -> None:
        search_single_threaded()
        while not done[number] or time.monotonic() < end:
            work()
            done[number] += 1

    threads = [threading.Thread(target=loop, args=(number,)) for number in range(loops)]
    began, cpu = time.monotonic(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.monotonic() - began), (time.process_time() - cpu) * 1000 / max(1, sum(done))


def measure_load(
    server: Served, kind: Kind, requests: list[bytes], seconds: float, *, overload: bool = True
) -> dict[str, Any]:
    """The highest rate; of some kinds also latencies at 70 % of it, and with ``overload`` at 200 %."""
    closed = highest(server, kind, requests, seconds)
    found: dict[str, Any] = {"highest": closed}
    if not closed["answers_per_s"]:
        raise SystemExit(f"{kind.path} must be answered within {seconds:g} s, got {closed['statuses']}")
    if kind.with_latencies:
        found["at_70_percent"] = drive(server.port, requests, 0.7 * closed["answers_per_s"], seconds)
        if overload:
            found["at_200_percent"] = drive(server.port, requests, 2 * closed["answers_per_s"], seconds)
    return found


def highest(server: Served, kind: Kind, requests: list[bytes], seconds: float) -> dict[str, Any]:
    """The highest rate, in images, and CPU milliseconds per image at that rate."""
    drive(server.port, requests, None, min(1.0, seconds), kind.connections)
    before = server.cpu_s()
    closed: dict[str, Any] = drive(server.port, requests, None, seconds, kind.connections)
    closed["generator_cpu_ms"] = closed.pop("cpu_ms")
    images = kind.images * closed["statuses"].get("200", 0)
    closed["cpu_ms"] = (server.cpu_s() - before) * 1000 / max(1, images)
    closed["images_per_s"] = closed["answers_per_s"] * kind.images
    return closed


if __name__ == "__main__":
    main()
