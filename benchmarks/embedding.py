"""Time of embedding one aligned face: exported networks in turns, one core, batch 1.

    python benchmarks/embedding.py embedder.onnx int8.onnx --runs 5

The networks take turns, so that other work on the machine affects all of them. Prints the median over all calls, and
the range of the medians of the runs.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from mien.model.embedder.embedder import Embedder


def main() -> None:
    """Time every network and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", type=Path, nargs="+", help="exported networks")
    parser.add_argument("--runs", type=int, default=5, help="turns of each network (default: 5)")
    parser.add_argument("--calls", type=int, default=200, help="calls of a turn (default: 200)")
    parser.add_argument("--batch", type=int, default=1, help="faces of a call (default: 1)")
    parser.add_argument("--threads", type=int, default=1, help="of ONNX Runtime (default: 1)")
    arguments = parser.parse_args()

    embedders = [Embedder(path, threads=arguments.threads, provider="cpu") for path in arguments.networks]
    side_px = embedders[0].side_px
    crops = np.random.default_rng(0).integers(0, 256, (arguments.batch, side_px, side_px), dtype=np.uint8)
    for embedder in embedders:
        for _ in range(10):
            embedder.embed(crops)
    times_s: list[list[list[float]]] = [[] for _ in embedders]
    for _ in range(arguments.runs):
        for embedder, turns in zip(embedders, times_s, strict=True):
            turn = []
            for _ in range(arguments.calls):
                began = time.perf_counter()
                embedder.embed(crops)
                turn.append(time.perf_counter() - began)
            turns.append(turn)
    for path, turns in zip(arguments.networks, times_s, strict=True):
        medians_ms = sorted(1000 * statistics.median(turn) for turn in turns)
        median_ms = 1000 * statistics.median(each for turn in turns for each in turn)
        sys.stdout.write(
            f"{path}: {median_ms:.2f} ms ({medians_ms[0]:.2f} to {medians_ms[-1]:.2f}), "
            f"{arguments.batch} faces a call, {arguments.threads} threads\n"
        )


if __name__ == "__main__":
    main()
