"""A drawn face, for tests that need one to be found. ``python -m tests.support.cartoon > face.png`` draws it."""

import sys

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter


def cartoon(side: int = 320) -> NDArray[np.uint8]:
    """A drawn face that YuNet takes for one, its eyes at 0.4 and 0.6 of the width and 0.45 of the height."""
    unit = side / 100
    image = Image.new("RGB", (side, side), (90, 120, 150))
    draw = ImageDraw.Draw(image)

    def ellipse(x: float, y: float, across: float, down: float, colour: tuple[int, int, int]) -> None:
        corners = (x - across, y - down, x + across, y + down)
        draw.ellipse([corner * unit for corner in corners], fill=colour)

    ellipse(50, 42, 30, 34, (60, 40, 30))
    draw.rectangle([42 * unit, 75 * unit, 58 * unit, 95 * unit], fill=(205, 160, 130))
    ellipse(50, 52, 25, 32, (225, 180, 150))
    for x in (40, 60):
        ellipse(x, 45, 5, 2.6, (250, 250, 250))
        ellipse(x, 45, 2.4, 2.4, (50, 30, 20))
        draw.line([(x - 6) * unit, 39 * unit, (x + 6) * unit, 38.5 * unit], fill=(60, 40, 30), width=int(1.6 * unit))
    draw.polygon([(50 * unit, 47 * unit), (46 * unit, 60 * unit), (54 * unit, 60 * unit)], fill=(205, 155, 125))
    ellipse(47.5, 60, 1.2, 0.8, (120, 70, 60))
    ellipse(52.5, 60, 1.2, 0.8, (120, 70, 60))
    ellipse(50, 69, 8.5, 2.6, (170, 70, 70))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(side / 200)), dtype=np.uint8)


if __name__ == "__main__":
    Image.fromarray(cartoon(640)).save(sys.stdout.buffer, "PNG")
