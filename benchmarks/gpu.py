"""GPU throughput: aligned faces embedded per second from memory, and exact search in a large gallery.

    pip install '.[gpu]' onnx && python benchmarks/gpu.py --network float.onnx

Prints, for each batch size, the median of several runs: faces per second with the crops in host memory (as an import
embeds them), and with input and output bound to GPU memory, with the share of the card's peak in a product of large
matrices of the same precision. The network is measured as it is, and in float16 and with TensorRT where possible. Then
follows the time of a search of 1,000,000 x 64 float32 at batch 1,024, and the time of reading the gallery once at the
card's bandwidth, which a copy on the card measures.

The aims are 20,000 faces/s from memory, and a search within twice the time of reading the gallery once.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime

from mien.index.bundle.default import default_bundle
from mien.index.bundle.manifest import EMBEDDER
from mien.index.gallery.vectors.gpu import DeviceIndex, device_problem, gpu_index
from mien.model.embedder.embedder import Embedder
from mien.model.embedder.io_binding import BoundBatch
from mien.model.embedder.provider import Provider
from mien.model.embedder.session import CPU, CUDA, TENSORRT, driver_problem, gpu_providers, has_cuda_build
from mien.model.export.float16 import convert_to_float16

SIZE = 64


def median_s(task: Callable[[], object], runs: int) -> float:
    """The median time of a task, after a warm-up run."""
    task()
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        task()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def card() -> str:
    """The name of the first GPU, from its driver."""
    command = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]  # noqa: S603


def operations_of(network: Path) -> float:
    """Multiplications and additions of one face's convolutions and products, from the shapes in the graph."""
    import onnx

    given = onnx.load(network)
    given.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    graph = onnx.shape_inference.infer_shapes(given).graph
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.output)
    }
    weights = {each.name: list(each.dims) for each in graph.initializer}
    # In int8 networks, weights pass through their dequantisation.
    for node in graph.node:
        if node.op_type in ("DequantizeLinear", "Cast") and node.input[0] in weights:
            weights[node.output[0]] = weights[node.input[0]]
    total = 0.0
    for node in graph.node:
        shape = shapes.get(node.output[0], [])
        if node.op_type == "Conv":
            total += 2 * float(np.prod(weights[node.input[1]][1:])) * float(np.prod(shape))
        elif node.op_type in ("Gemm", "MatMul") and node.input[1] in weights:
            total += 2 * float(np.prod(weights[node.input[1]]))
    return total


def matrix_operations_per_s(runs: int, *, half: bool, size: int = 8192) -> float:
    """Peak of the card in a product of two matrices, multiplications and additions per second."""
    import onnx
    from onnx import TensorProto, helper

    kind, dtype = (TensorProto.FLOAT16, np.float16) if half else (TensorProto.FLOAT, np.float32)
    ends = [helper.make_tensor_value_info(name, kind, [size, size]) for name in ("a", "b", "c")]
    graph = helper.make_graph([helper.make_node("MatMul", ["a", "b"], ["c"])], "product", ends[:2], ends[2:])
    product = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(product)
    session = onnxruntime.InferenceSession(product.SerializeToString(), providers=[CUDA, CPU])
    binding = session.io_binding()
    for name in ("a", "b"):
        value = onnxruntime.OrtValue.ortvalue_from_numpy(np.ones((size, size), dtype), "cuda", 0)
        binding.bind_ortvalue_input(name, value)
    binding.bind_output("c", "cuda", 0)

    def once() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return 2 * size**3 / median_s(once, runs)


def time_embedding(name: str, network: Path, provider: Provider, *, batches: list[int], runs: int, peak: float) -> None:
    """Print a line for each batch size.

    Args:
        name: of the network's form.
        network: the ONNX file.
        provider: where it runs.
        batches: faces at once.
        runs: of each measurement.
        peak: multiplications and additions per second that the card can do.
    """
    embedder = Embedder(network, provider=provider)
    operations = operations_of(network)
    generator = np.random.default_rng(0)
    for batch in batches:
        faces = generator.integers(0, 256, (batch, embedder.side_px, embedder.side_px), dtype=np.uint8)
        from_memory = batch / median_s(lambda faces=faces: embedder.embed(faces), runs)  # type: ignore[misc]
        session = onnxruntime.InferenceSession(str(network), providers=gpu_providers(provider))
        bound = BoundBatch(session, faces.shape, (batch, embedder.embedding_size), device="cuda")
        bound.run(faces)
        on_card = batch / median_s(bound.run_in_place, runs)
        sys.stdout.write(
            f"{name}, batch {batch:5}: {from_memory:9,.0f} faces/s from memory, {on_card:9,.0f} bound to the card, "
            f"{on_card * operations / peak:.3f} of its peak\n"
        )


def time_networks(network: Path, batches: list[int], runs: int) -> None:
    """Time the network as it is, in float16 and with TensorRT."""
    peaks = {half: matrix_operations_per_s(runs, half=half) for half in (False, True)}
    sys.stdout.write(f"products of matrices: {peaks[False] / 1e12:.1f} TFLOPS, {peaks[True] / 1e12:.1f} in float16\n")
    precision = Embedder(network, provider="require").metadata.precision
    time_embedding(precision, network, "require", batches=batches, runs=runs, peak=peaks[precision == "float16"])
    with tempfile.TemporaryDirectory() as folder:
        if precision == "float32":
            half = Path(folder) / "half.onnx"
            convert_to_float16(network, half)
            time_embedding("float16", half, "require", batches=batches, runs=runs, peak=peaks[True])
        if TENSORRT in Embedder(network, provider="tensorrt").providers:
            time_embedding("TensorRT", network, "tensorrt", batches=batches, runs=runs, peak=peaks[True])


def time_search(faces: int, batch: int, k: int, runs: int) -> None:
    """Print the time of a search, and of reading the gallery once."""
    generator = np.random.default_rng(0)
    gallery = DeviceIndex(generator.normal(size=(faces, SIZE)).astype(np.float32), gpu_index)
    queries = generator.normal(size=(batch, SIZE)).astype(np.float32)
    took_s = median_s(lambda: gallery.search(queries, k), runs)
    read_s = faces * SIZE * 4 / bandwidth_bytes_per_s(runs)
    sys.stdout.write(
        f"search of {faces:,} x {SIZE} at batch {batch}: {1000 * took_s:.2f} ms, {batch / took_s:,.0f} queries/s; "
        f"reading it once takes {1000 * read_s:.2f} ms, a share of {read_s / took_s:.3f}\n"
    )


def bandwidth_bytes_per_s(runs: int, size_bytes: int = 2**30) -> float:
    """Memory bandwidth of the card, by a copy on it: each byte is read once and written once."""
    import ctypes

    from mien.model.embedder.session import DRIVER

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
    """Measure and print; returns 1 without a GPU."""
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
    time_networks(arguments.network, arguments.batches, arguments.runs)
    problem = device_problem()
    if problem is not None:
        sys.stderr.write(f"search is not measured: {problem}\n")
        return 1
    time_search(arguments.faces, 1024, 10, arguments.runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
