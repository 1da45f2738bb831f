"""A photograph that is decoded as finely as its pixels are asked for.

The coefficients of a JPEG give it at a half, a quarter or an eighth of its size in less time: enough to look for large
faces, and to crop them.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mien.model.faces.decoding import DEFAULT_LIMITS, DecodingLimits, decode_reduced, upright_size


class Photograph:
    """The pixels of a file, each resolution decoded when it is first asked for.

    Attributes:
        size: width and height of the upright picture, pixels.
    """

    def __init__(
        self,
        data: bytes | NDArray[np.uint8],
        limits: DecodingLimits = DEFAULT_LIMITS,
        timed: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Read the header.

        Args:
            data: the whole file; or (h, w, 3) uint8 RGB, pixels that are decoded and upright already.
            limits: of the file.
            timed: entered whenever something is decoded.

        Raises:
            ImageError: as ``decode``, as far as the header shows it.
        """
        self.size: tuple[int, int]
        self._decoded: list[tuple[NDArray[np.uint8], int]] = []
        if isinstance(data, bytes):
            with timed():
                self.size = upright_size(data, limits)
        else:
            self.size = (data.shape[1], data.shape[0])
            self._decoded.append((data, 1))
        self._file = data if isinstance(data, bytes) else b""
        self._limits = limits
        self._timed = timed

    def pixels(self, min_px: float, mode: Literal["RGB", "L"] = "RGB") -> tuple[NDArray[np.uint8], int]:
        """The picture, its longer side not reduced below ``min_px``.

        Args:
            min_px: finer is returned where it is decoded already, or where the format cannot be reduced.
            mode: L where grey levels (ITU-R 601) do, which take less time; colours are returned where they are decoded.

        Returns:
            (h, w, 3) uint8 RGB or (h, w) grey, and by what factor it is reduced.

        Raises:
            ImageError: as ``decode``.
        """
        for image, factor in self._decoded:
            enough = factor == 1 or max(image.shape[:2]) >= min_px
            if enough and (mode == "L" or image.ndim == 3):
                return image, factor
        with self._timed():
            self._decoded.append(decode_reduced(self._file, self._limits, min_px, mode))
        return self._decoded[-1]
