"""The service under load, against a bare loop and alternatives.

    python benchmarks/load.py PHOTOGRAPH... [--seconds 8] [--parts crops photographs ...] [--soak 600]

Each part starts its servers, drives them with an open-loop generator (``generator.py``) and measures in the same run
the bare cost of the same work on the same cores; only the ratios matter. Figures are kept in ``--figures``, part by
part; after each part, table and plot of all parts are written again (``load_report.py``). Missing environments of the
alternatives are created (``alternatives.py``).

Payloads are made from the photographs: face crops of 48 to 224 pixels, and pictures of 640x480 with one face.

CPU milliseconds per answer are those of the processes that answer; other work on the machine affects them little.
"""

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import alternatives
import numpy as np
from generator import drive
from load_report import write_report
from payloads import CLASSIFY_CROP, Photographs, request, requests_of, requests_of_several
from served import Served, mien

from mien.index.bundle.bundle import load_bundle
from mien.index.bundle.default import default_bundle
from mien.index.gallery.vectors.flat import search_single_threaded
from mien.model.embedder.embedder import Embedder
from mien.model.pipeline import load_pipeline

BATCHES: Final = (1, 2, 4, 8, 16, 32)

IMAGES_TOGETHER: Final = 8
"""Images of a request with several."""

HERE: Final = Path(__file__).parent


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
    crops, pictures = photographs.crops(), photographs.small()
    for part in [*arguments.parts, *(["soak"] if arguments.soak else [])]:
        load_before = os.getloadavg()[0]
        found = (soak if part == "soak" else PARTS[part])(crops, pictures, arguments)
        figures = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
        figures[part] = found | {"cores": os.cpu_count(), "load_average": [load_before, os.getloadavg()[0]]}
        kept.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        write_report(figures, arguments.figures)
    sys.stdout.write((arguments.figures / "load.md").read_text(encoding="utf-8"))


def measure_crops(crops: list[bytes], _: list[bytes], arguments: argparse.Namespace) -> dict[str, Any]:
    """Crops to ``/classify``, between two runs of the bare loop."""
    before = bare_crops(arguments.seconds)
    with mien(arguments.option) as server:
        found = measure_load(server, requests_of(CLASSIFY_CROP, crops), arguments.seconds, overload=True)
        found["ready_s"] = server.ready_s
    return {"bare": [before, bare_crops(arguments.seconds)], "mien": found}


def measure_photographs(_: list[bytes], pictures: list[bytes], arguments: argparse.Namespace) -> dict[str, Any]:
    """Photographs to ``/retrieve``, between two runs of the bare loop."""
    before = bare_pictures(pictures, arguments.seconds)
    with mien(arguments.option) as server:
        found = measure_load(server, requests_of("/retrieve", pictures), arguments.seconds, overload=True)
        found["ready_s"] = server.ready_s
    return {"bare": [before, bare_pictures(pictures, arguments.seconds)], "mien": found}


def measure_shapes(crops: list[bytes], pictures: list[bytes], arguments: argparse.Namespace) -> dict[str, Any]:
    """Several images per request, and several processes; only the highest rates, in images."""
    found: dict[str, Any] = {}
    many = requests_of_several(CLASSIFY_CROP, crops, IMAGES_TOGETHER)
    for processes in (1, 2):
        with mien([*arguments.option, f"--processes={processes}"]) as server:
            for name, requests, images in (
                ("crops", requests_of(CLASSIFY_CROP, crops), 1),
                (f"crops, {IMAGES_TOGETHER} in a request", many, IMAGES_TOGETHER),
                ("photographs", requests_of("/retrieve", pictures), 1),
            ):
                closed = highest(server, requests, arguments.seconds)
                closed["answers_per_s"] *= images
                closed["cpu_ms"] /= images
                found[f"{name}; processes: {processes}"] = closed
    return found


def measure_plain(crops: list[bytes], pictures: list[bytes], arguments: argparse.Namespace) -> dict[str, Any]:
    """A plain FastAPI handler around the same network, and around the same pipeline."""
    with Served([sys.executable, str(HERE / "plain.py"), "serve", "--port"]) as server:
        return _both_kinds(server, crops, pictures, arguments.seconds)


def measure_fer(crops: list[bytes], pictures: list[bytes], arguments: argparse.Namespace) -> dict[str, Any]:
    """The package fer behind FastAPI."""
    python = alternatives.fer_environment(arguments.environments)
    with Served([str(python), str(HERE / "fer_app.py"), "serve", "--port"]) as server:
        return _both_kinds(server, crops, pictures, arguments.seconds)


def measure_deepface(crops: list[bytes], pictures: list[bytes], arguments: argparse.Namespace) -> dict[str, Any]:
    """DeepFace's own API, if its weights can be downloaded."""
    python = alternatives.deepface_environment(arguments.environments, arguments.deepface_weights)
    if python is None:
        return {
            "skipped": f"{alternatives.DEEPFACE_WEIGHTS} cannot be fetched here; --deepface-weights FILE runs this part"
        }
    command = [str(python.parent / "gunicorn"), "--workers", str(os.cpu_count()), "--timeout", "120"]
    address = ["deepface.api.src.app:create_app()", "--bind"]
    home = {"DEEPFACE_HOME": str(alternatives.deepface_home(arguments.environments).resolve())}

    def analyse(file: bytes, detector: str) -> bytes:
        texts = {"actions": '["emotion"]', "detector_backend": detector, "enforce_detection": "false"}
        return request("/analyze", [("img", file)], texts)

    with Served([*command, *address], home, ready="/", address="127.0.0.1:{}") as server:
        return {
            "crops": measure_load(server, [analyse(file, "skip") for file in crops], arguments.seconds),
            "photographs": measure_load(server, [analyse(file, "opencv") for file in pictures], arguments.seconds),
        }


def soak(crops: list[bytes], _: list[bytes], arguments: argparse.Namespace) -> dict[str, Any]:
    """Memory of the service each second under load."""
    requests = requests_of(CLASSIFY_CROP, crops)
    with mien(arguments.option) as server:
        rate = arguments.soak_rate or 2 * highest(server, requests, arguments.seconds)["answers_per_s"]
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


PARTS: Final[Mapping[str, Callable[[list[bytes], list[bytes], argparse.Namespace], dict[str, Any]]]] = {
    "crops": measure_crops,
    "photographs": measure_photographs,
    "shapes": measure_shapes,
    "plain": measure_plain,
    "fer": measure_fer,
    "deepface": measure_deepface,
}


def _both_kinds(server: Served, crops: list[bytes], pictures: list[bytes], seconds: float) -> dict[str, Any]:
    return {
        "crops": measure_load(server, requests_of(CLASSIFY_CROP, crops), seconds),
        "photographs": measure_load(server, requests_of("/classify", pictures), seconds),
    }


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
        while time.monotonic() < end:
            work()
            done[number] += 1

    threads = [threading.Thread(target=loop, args=(number,)) for number in range(loops)]
    began, cpu = time.monotonic(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.monotonic() - began), (time.process_time() - cpu) * 1000 / max(1, sum(done))


def measure_load(server: Served, requests: list[bytes], seconds: float, *, overload: bool = False) -> dict[str, Any]:
    """The highest rate, then latencies at 70 % of it, and with ``overload`` at 200 %."""
    closed = highest(server, requests, seconds)
    rate = closed["answers_per_s"]
    found = {"highest": closed, "at_70_percent": drive(server.port, requests, 0.7 * rate, seconds)}
    if overload:
        found["at_200_percent"] = drive(server.port, requests, 2 * rate, seconds)
    return found


def highest(server: Served, requests: list[bytes], seconds: float) -> dict[str, Any]:
    """The highest rate, and CPU milliseconds per answer at that rate."""
    drive(server.port, requests, None, 1.0)
    before = server.cpu_s()
    closed: dict[str, Any] = drive(server.port, requests, None, seconds)
    closed["generator_cpu_ms"] = closed.pop("cpu_ms")
    closed["cpu_ms"] = (server.cpu_s() - before) * 1000 / max(1, closed["statuses"].get("200", 0))
    return closed


if __name__ == "__main__":
    main()
