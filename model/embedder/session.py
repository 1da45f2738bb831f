"""ONNX Runtime sessions on the CPU or a GPU, and the reasons why a GPU cannot be used."""

import ctypes
import logging
from typing import Final

import onnxruntime

from mien.model.embedder.provider import Provider
from mien.model.errors import ConfigError

TENSORRT: Final = "TensorrtExecutionProvider"

CUDA: Final = "CUDAExecutionProvider"
CPU: Final = "CPUExecutionProvider"

DRIVER: Final = "libcuda.so.1"
"""The library of NVIDIA's driver, which is installed with the machine and not by a package."""

_CUDA_OPTIONS: Final = {
    # The exhaustive search for the best convolution would run for each batch size, and those differ.
    "cudnn_conv_algo_search": "HEURISTIC",
    # The arena grows to the size of the largest batch, not to the next power of two.
    "arena_extend_strategy": "kSameAsRequested",
}

_TENSORRT_OPTIONS: Final = {"trt_fp16_enable": True}

_log = logging.getLogger(__name__)


def open_session(
    network: str | bytes, options: onnxruntime.SessionOptions, provider: Provider
) -> onnxruntime.InferenceSession:
    """Load a network.

    Args:
        network: the path of an ONNX file, or its content.
        options: of ONNX Runtime.
        provider: where to run.

    Raises:
        ConfigError: a GPU is required and cannot be used.
        Exception: ONNX Runtime cannot load the network; its errors have no public type.
    """
    problem = _cuda_problem() if provider != "cpu" else None
    if provider == "cpu" or problem is not None:
        _report_cpu(provider, problem)
        return onnxruntime.InferenceSession(network, options, providers=[CPU])
    onnxruntime.preload_dlls()  # CUDA and cuDNN are in wheels, where the system's loader does not look
    session = onnxruntime.InferenceSession(network, options, providers=gpu_providers(provider))
    if CUDA not in session.get_providers():
        _report_cpu(provider, "ONNX Runtime could not start CUDA on it; its own message has the reason")
    elif provider == "tensorrt" and TENSORRT not in session.get_providers():
        _log.warning("the network runs on CUDA alone, as TensorRT could not be started: pip install tensorrt-cu12-libs")
    return session


def gpu_providers(provider: Provider) -> list[str | tuple[str, dict[str, object]]]:
    """The execution providers of a GPU with their options; each runs what those before it cannot.

    Args:
        provider: ``tensorrt`` adds TensorRT, if ONNX Runtime was built with it.
    """
    chosen: list[str | tuple[str, dict[str, object]]] = [(CUDA, dict(_CUDA_OPTIONS)), CPU]
    if provider == "tensorrt" and TENSORRT in onnxruntime.get_available_providers():
        chosen.insert(0, (TENSORRT, dict(_TENSORRT_OPTIONS)))
    return chosen


def _report_cpu(provider: Provider, problem: str | None) -> None:
    """Refuse or warn that the network runs on the CPU, depending on the provider."""
    if problem is None:
        return
    if provider == "require":
        raise ConfigError(f"a GPU is required, and cannot be used: {problem}")
    if provider in ("cuda", "tensorrt") or has_cuda_build():
        _log.warning("the network runs on the CPU, as the GPU cannot be used: %s", problem)


def has_cuda_build() -> bool:
    """Whether the GPU build of ONNX Runtime is installed."""
    return CUDA in onnxruntime.get_available_providers()


def _cuda_problem() -> str | None:
    """Why CUDA cannot be used; None if no reason is known before a network is loaded."""
    if not has_cuda_build():
        return f"expected onnxruntime-gpu (the extra 'gpu'), found {', '.join(onnxruntime.get_available_providers())}"
    return driver_problem()


def driver_problem(library: str = DRIVER) -> str | None:
    """Why NVIDIA's driver has no GPU; None if it has one."""
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        return f"this machine has no NVIDIA driver ({library}), or the container was not given it"
    code = driver.cuInit(0)
    if code != 0:
        return f"the NVIDIA driver does not start (cuInit gives {code})"
    count = ctypes.c_int(0)
    code = driver.cuDeviceGetCount(ctypes.byref(count))
    return None if code == 0 and count.value > 0 else "the NVIDIA driver finds no GPU"
