"""The sealed segment of a gallery in the memory of a GPU, for exact search (``faiss-gpu``).

The segment is copied once, and again when everything is merged into a new one. The growing segment is searched on the
CPU. A vector that was deleted since is still found on the GPU, and skipped by the view, as with inverted lists.
"""

import logging
from collections.abc import Callable
from functools import cache
from threading import Lock
from typing import Any, Final

import faiss
import numpy as np
from numpy.typing import NDArray

from mien.index.gallery.vectors.policy import Device
from mien.index.gallery.vectors.view import AnnIndex
from mien.model.embedder.session import driver_problem
from mien.model.errors import ConfigError

EXACT_ON_DEVICE_UP_TO: Final = 20_000_000
"""Faces that ``auto`` searches exactly on a GPU: 5 GB, which it reads in two milliseconds."""

Build = Callable[[NDArray[np.float32]], Any]
"""Builds a FAISS index over (n, d) float32."""

ToDevice = Callable[[NDArray[np.float32]], AnnIndex | None]
"""Copies a segment to a device, if it fits."""

_log = logging.getLogger(__name__)


class DeviceIndex:
    """Exact search in a segment on a device; an ``AnnIndex``. Thread-safe."""

    def __init__(self, sealed: NDArray[np.float32], build: Build) -> None:
        """Copy a segment to the device.

        Args:
            sealed: (n, d) float32.
            build: builds the index over it.
        """
        self._lock = Lock()  # a GPU index of FAISS takes one call at a time
        self._faiss_index = build(np.ascontiguousarray(sealed))

    def search(self, queries: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """(q, count) positions, nearest first; -1 where there are fewer.

        Args:
            queries: (q, d) float32.
            count: at most 2048, FAISS's limit on a GPU.
        """
        with self._lock:
            positions: NDArray[np.int64] = self._faiss_index.search(queries, count)[1]
        return positions


def device_of(device: Device) -> ToDevice | None:
    """The function that copies a segment to the GPU; None where search stays on the CPU.

    Args:
        device: where search should run. ``cuda`` warns where it cannot, as does ``auto`` if FAISS's build for GPUs is
            installed.

    Raises:
        ConfigError: a GPU is required, and cannot be used.
    """
    if device == "cpu":
        return None
    problem = device_problem()
    if problem is None:
        return lambda sealed: on_device(sealed, gpu_index)
    if device == "require":
        raise ConfigError(f"search on a GPU is required, and cannot be done: {problem}")
    if device == "cuda" or has_gpu_build():
        _log.warning("the gallery is searched on the CPU, as the GPU cannot be used: %s", problem)
    return None


def on_device(sealed: NDArray[np.float32], build: Build) -> DeviceIndex | None:
    """A segment on a device; None, with a warning, if it does not fit into its memory.

    Args:
        sealed: (n, d) float32.
        build: builds the index over it.
    """
    try:
        return DeviceIndex(sealed, build)
    except RuntimeError as error:  # FAISS has no special error for a device whose memory is full
        reason = str(error).strip().partition("\n")[0][:200]
        _log.warning(
            "%d faces are searched on the CPU, as they could not be copied to the GPU: %s", len(sealed), reason
        )
        return None


def has_gpu_build() -> bool:
    """Whether the installed FAISS is the build for GPUs."""
    return hasattr(faiss, "StandardGpuResources")


def device_problem() -> str | None:
    """Why search on a GPU is impossible; None if nothing is known to prevent it."""
    if not has_gpu_build():
        return "expected faiss-gpu (the extra 'gpu'), found FAISS for CPUs"
    problem = driver_problem()
    if problem is None and faiss.get_num_gpus() == 0:
        return "FAISS finds no GPU that it was built for"
    return problem


def gpu_index(sealed: NDArray[np.float32]) -> Any:
    """An exact index on the first GPU."""
    options = faiss.GpuIndexFlatConfig()
    options.device = 0
    built = faiss.GpuIndexFlatL2(_resources(), sealed.shape[1], options)
    built.add(sealed)
    return built


@cache
def _resources() -> Any:
    """FAISS's scratch memory and streams on the GPU: one for all indexes of a process."""
    return faiss.StandardGpuResources()
