"""Thumbnails: faces in colour, framed as their crops, small enough to be kept beside an embedding.

As they are framed as the crops that the network reads, faces can be embedded again from them.
"""

from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.model.errors import BrokenImageError
from mien.model.faces.alignment import SIDE_PX, crop_in_colour, crop_side_px, crop_whole
from mien.model.faces.decoding import DecodingLimits, decode

THUMBNAIL_PX: Final = 160
"""Largest side of a thumbnail; a face that is smaller in its photograph is not enlarged."""

MAX_BYTES: Final = 64 * 1024
"""Largest file of a thumbnail; those of 160 pixels have 3 to 8 kB."""

_QUALITY: Final = 85
_LIMITS: Final = DecodingLimits(max_bytes=MAX_BYTES, max_pixels=1024 * 1024)


def thumbnail(image: NDArray[np.uint8], landmarks: NDArray[np.floating] | None) -> bytes:
    """The thumbnail of a face, a WebP file; without loss where it is no larger than a crop.

    Args:
        image: (h, w, 3) uint8 RGB, upright.
        landmarks: (5, 2) as in ``Detection``; None if the whole image is the face.
    """
    if landmarks is None:
        side = min(image.shape[:2])
        top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
        picture = Image.fromarray(np.ascontiguousarray(image[top : top + side, left : left + side]))
        if side > THUMBNAIL_PX:
            picture = picture.resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS)
    else:
        side = int(np.clip(round(crop_side_px(landmarks)), SIDE_PX, THUMBNAIL_PX))
        picture = Image.fromarray(crop_in_colour(image, landmarks, side))
    buffer = BytesIO()
    picture.save(buffer, "WEBP", quality=_QUALITY, lossless=picture.width <= SIDE_PX)
    return buffer.getvalue()


def crop_of_thumbnail(file: bytes, side_px: int = SIDE_PX) -> NDArray[np.uint8]:
    """The crop (side_px, side_px) uint8 grey that the network reads of a thumbnail.

    Raises:
        ImageError: the file cannot be decoded, or is not square or smaller.
    """
    picture = decode(file, _LIMITS)
    height, width = picture.shape[:2]
    if height != width or height < side_px:
        raise BrokenImageError(f"a thumbnail must be a square of at least {side_px} pixels, got {width}x{height}")
    return crop_whole(picture, side_px)
