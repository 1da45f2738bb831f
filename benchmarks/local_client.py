"""What ``mien.load`` costs: CPU time of loading in a new process, and of a warm call against the engine alone.

    python benchmarks/local_client.py PHOTOGRAPH

CPU time is used (one thread of the network), so that other work on the machine counts little. The calls of engine and
client alternate.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import mien
from mien.model.faces.alignment import crop_whole
from mien.model.faces.decoding import decode
from mien.service.inference.prediction import InferenceRequest

LOADING = "import time, mien; mien.load(); print(time.process_time())"


def cpu_ms(call: Callable[[], object]) -> float:
    """CPU time of one call."""
    began = time.process_time()
    call()
    return (time.process_time() - began) * 1000


def compare(name: str, engine: Callable[[], object], client: Callable[[], object], rounds: int) -> None:
    """Print the median CPU times of both, and their ratio."""
    times = [(cpu_ms(engine), cpu_ms(client)) for _ in range(rounds)][rounds // 10 :]
    alone, whole = (median(each) for each in zip(*times, strict=True))
    print(f"{name:28} engine {alone:7.2f} ms  client {whole:7.2f} ms  ratio {whole / alone:.3f}")  # noqa: T201


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photograph", type=Path, metavar="PHOTOGRAPH")
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    loads = [
        float(subprocess.check_output([sys.executable, "-c", LOADING]))  # noqa: S603
        for _ in range(5)
    ]
    print(f"load, imports included: {min(loads):.2f} to {max(loads):.2f} s of CPU time")  # noqa: T201
    local = mien.load(threads=1)
    engine = local.engine
    file = arguments.photograph.read_bytes()
    pixels = decode(file)
    crop = crop_whole(pixels)

    def predict(image: object, k: int | None = None, *, already_cropped: bool = False) -> object:
        faces = engine.read_faces(image, already_cropped=already_cropped)  # type: ignore[arg-type]
        return engine.predict_one(InferenceRequest(faces=faces, k=k))

    rounds = arguments.rounds
    compare("classify, photograph", lambda: predict(file), lambda: local.classify(file), rounds)
    compare("classify, its pixels", lambda: predict(pixels), lambda: local.classify(pixels), rounds)
    compare("retrieve k=10, photograph", lambda: predict(file, 10), lambda: local.retrieve(file), rounds)
    compare(
        "classify, a crop's pixels",
        lambda: predict(crop, already_cropped=True),
        lambda: local.classify(crop, already_cropped=True),
        10 * rounds,
    )


if __name__ == "__main__":
    main()
