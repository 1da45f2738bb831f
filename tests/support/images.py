"""Image files in memory."""

from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.support.cartoon import cartoon


def encode(image: Image.Image | NDArray[np.uint8], image_format: str = "PNG", **options: Any) -> bytes:
    """An image file; options are those of Pillow's ``save``."""
    file = BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, image_format, **options)
    return file.getvalue()


def two_faces() -> Image.Image:
    """A drawing with two faces, the larger on the right."""
    sheet = Image.new("RGB", (1000, 500), (90, 120, 150))
    sheet.paste(Image.fromarray(cartoon(200)), (50, 20))
    sheet.paste(Image.fromarray(cartoon(450)), (500, 20))
    return sheet
