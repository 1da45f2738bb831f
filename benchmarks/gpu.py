"""What a GPU does: aligned faces embedded per second from memory, and exact search in a large gallery.

    pip install '.[gpu]' && python benchmarks/gpu.py

Printed are, for each batch size, the median of several runs: faces per second with the crops in the computer's memory,
and with input and output bound to the GPU's memory; and the time of a search of 1,000,000 x 64 float32 at batch 1,024
beside the time that reading the gallery once takes at the card's bandwidth, as a copy on the card measures it.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from index.bundle import EMBEDDER, default_bundle
from model.embedder import Embedder
from model.execution import CPU, CUDA, driver_problem, has_cuda_build

SIZE = 64


def median_s(task: Callable[[], object], runs: int) -> float:
    """The median time of a task, after one run that does not count."""
    task()
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        task()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def card() -> str:
    """The name of the first GPU, as its driver gives it."""
    command = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]  # noqa: S603


def bound_session(network: Path, faces: NDArray[np.uint8]) -> Callable[[], None]:
    """A run of the network whose input and output stay on the GPU."""
    onnxruntime.preload_dlls()
    session = onnxruntime.InferenceSession(str(network), providers=[CUDA, CPU])
    binding = session.io_binding()
    binding.bind_ortvalue_input(
        session.get_inputs()[0].name, onnxruntime.OrtValue.ortvalue_from_numpy(faces, "cuda", 0)
    )
    binding.bind_output(session.get_outputs()[0].name, "cuda", 0)

    def once() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return once


def time_embedding(network: Path, batches: list[int], runs: int) -> None:
    """Print a line for each batch size."""
    embedder = Embedder(network, provider="require")
    generator = np.random.default_rng(0)
    for batch in batches:
        faces = generator.integers(0, 256, (batch, embedder.side_px, embedder.side_px), dtype=np.uint8)
        from_memory = batch / median_s(lambda faces=faces: embedder.embed(faces), runs)  # type: ignore[misc]
        on_card = batch / median_s(bound_session(network, faces), runs)
        sys.stdout.write(
            f"batch {batch:5}: {from_memory:9,.0f} faces/s from memory, {on_card:9,.0f} bound to the card\n"
        )


def time_search(faces: int, batch: int, k: int, runs: int) -> None:
    """Print the time of a search, and of reading the gallery once."""
    import faiss

    resources: Any = faiss.StandardGpuResources()
    generator = np.random.default_rng(0)
    gallery: Any = faiss.GpuIndexFlatL2(resources, SIZE)
    gallery.add(generator.normal(size=(faces, SIZE)).astype(np.float32))
    queries = generator.normal(size=(batch, SIZE)).astype(np.float32)
    took_s = median_s(lambda: gallery.search(queries, k), runs)
    read_s = faces * SIZE * 4 / bandwidth_bytes_per_s(runs)
    sys.stdout.write(
        f"search of {faces:,} x {SIZE} at batch {batch}: {1000 * took_s:.2f} ms, {batch / took_s:,.0f} queries/s; "
        f"reading it once takes {1000 * read_s:.2f} ms, a share of {read_s / took_s:.3f}\n"
    )


def bandwidth_bytes_per_s(runs: int, size_bytes: int = 2**30) -> float:
    """How fast the card reads, by copying within its memory: each byte is read once and written once."""
    import ctypes

    from model.execution import DRIVER

    driver = ctypes.CDLL(DRIVER)
    context, source, target = ctypes.c_void_p(), ctypes.c_uint64(), ctypes.c_uint64()
    driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0)
    driver.cuCtxSetCurrent(context)
    for place in (source, target):
        if driver.cuMemAlloc_v2(ctypes.byref(place), ctypes.c_size_t(size_bytes)) != 0:
            raise MemoryError(f"expected {size_bytes} bytes of device memory")

    def copy() -> None:
        driver.cuMemcpyDtoD_v2(target, source, ctypes.c_size_t(size_bytes))
        driver.cuCtxSynchronize()

    took_s = median_s(copy, runs)
    for place in (source, target):
        driver.cuMemFree_v2(place)
    return 2 * size_bytes / took_s


def main() -> int:
    """Measure and print; 1 where there is no GPU."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", type=Path, default=default_bundle() / EMBEDDER, help="exported network")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 64, 256, 1024], help="faces of a call")
    parser.add_argument("--faces", type=int, default=1_000_000, help="faces of the gallery (default: 1000000)")
    parser.add_argument("--runs", type=int, default=20, help="runs of each measurement (default: 20)")
    arguments = parser.parse_args()
    problem = driver_problem() if has_cuda_build() else "onnxruntime-gpu is not installed"
    if problem is not None:
        sys.stderr.write(f"nothing to measure: {problem}\n")
        return 1
    sys.stdout.write(f"{card()}, onnxruntime {onnxruntime.__version__}\n")
    time_embedding(arguments.network, arguments.batches, arguments.runs)
    time_search(arguments.faces, 1024, 10, arguments.runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
