"""The base of a gallery in the memory of a GPU, for exact search (``faiss-gpu``).

The base does not move (``mien.index.gallery.vectors.vectors``): it is copied once, and again when tail and holes are
merged into a new one. What came since is in the tail and is searched on the CPU; what has gone since is found here
still, and passed over by whoever asks, as with cells.
"""

import logging
from collections.abc import Callable
from threading import Lock
from typing import Any, Final

import faiss
import numpy as np
from numpy.typing import NDArray

from mien.index.gallery.vectors.device import Device
from mien.index.gallery.vectors.vectors import Leading
from mien.model.embedder.session import driver_problem
from mien.model.errors import ConfigError

EXACT_ON_DEVICE_UP_TO: Final = 20_000_000
"""Faces that are searched exactly on a GPU before ``auto`` goes over to cells: 5 GB, two milliseconds to read once."""

Build = Callable[[NDArray[np.float32]], Any]
"""A FAISS index over (n, d) float32."""

ToDevice = Callable[[NDArray[np.float32]], Leading | None]
"""Copies a base to a device, if it fits."""

_log = logging.getLogger(__name__)


class DeviceSearch:
    """Exact neighbours in a base that a device holds; ``mien.index.gallery.vectors.vectors.Leading``. Thread-safe."""

    def __init__(self, base: NDArray[np.float32], build: Build) -> None:
        """Copy a base to the device.

        Args:
            base: (n, d) float32.
            build: makes the index over it.
        """
        self._lock = Lock()  # a GPU index of FAISS takes one call at a time
        self._faiss_index = build(np.ascontiguousarray(base))

    def search(self, queries: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """(q, count) positions, nearest first; -1 where there are fewer.

        Args:
            queries: (q, d) float32.
            count: at most 2048, which is what FAISS finds at once on a GPU.
        """
        with self._lock:
            positions: NDArray[np.int64] = self._faiss_index.search(queries, count)[1]
        return positions


def device_of(device: Device) -> ToDevice | None:
    """What copies a base to the GPU; None where search stays on the CPU.

    Args:
        device: where it should be. ``cuda`` warns where it cannot be, as does ``auto`` if FAISS's build for GPUs is
            installed.

    Raises:
        ConfigError: a GPU is required, and cannot be used.
    """
    if device == "cpu":
        return None
    problem = device_problem()
    if problem is None:
        return lambda base: on_device(base, gpu_index)
    if device == "require":
        raise ConfigError(f"search on a GPU is required, and cannot be done: {problem}")
    if device == "cuda" or has_gpu_build():
        _log.warning("the gallery is searched on the CPU, as the GPU cannot be used: %s", problem)
    return None


def on_device(base: NDArray[np.float32], build: Build) -> DeviceSearch | None:
    """A base on a device; None, with a warning, where it does not fit into its memory.

    Args:
        base: (n, d) float32.
        build: makes the index over it.
    """
    try:
        return DeviceSearch(base, build)
    except RuntimeError as error:  # FAISS has no error of its own for a device whose memory is full
        reason = str(error).strip().partition("\n")[0][:200]
        _log.warning("%d faces are searched on the CPU, as they could not be copied to the GPU: %s", len(base), reason)
        return None


def has_gpu_build() -> bool:
    """Whether the FAISS that is installed is the one for GPUs."""
    return hasattr(faiss, "StandardGpuResources")


def device_problem() -> str | None:
    """What stands in the way of searching on a GPU; None if nothing is known to."""
    if not has_gpu_build():
        return "expected faiss-gpu (the extra 'gpu'), found FAISS for CPUs"
    problem = driver_problem()
    if problem is None and faiss.get_num_gpus() == 0:
        return "FAISS finds no GPU that it was built for"
    return problem


def gpu_index(base: NDArray[np.float32]) -> Any:
    """An exact index on the first GPU."""
    options = faiss.GpuIndexFlatConfig()
    options.device = 0
    built = faiss.GpuIndexFlatL2(_resources(), base.shape[1], options)
    built.add(base)
    return built


_made: list[Any] = []


def _resources() -> Any:
    """FAISS's scratch memory and streams on the GPU: one for all indexes of a process."""
    if not _made:
        _made.append(faiss.StandardGpuResources())
    return _made[0]
