"""Pictures in bands of rows: as in one piece."""

from typing import Any, Literal

import numpy as np
import pytest
from PIL import ExifTags, Image

from mien.model.faces import pixels
from mien.model.faces.pixels import upright_array

RANDOM = np.random.default_rng(0)


def pictures() -> dict[str, Image.Image]:
    colours = Image.fromarray(RANDOM.integers(0, 256, (70, 50, 4), np.uint8))
    palette = colours.convert("RGB").quantize(32)
    palette.info["transparency"] = 3
    fractions = RANDOM.normal(0, 1000, (70, 50)).astype(np.float32)
    fractions[3, 4] = np.nan
    return {
        "RGBA": colours,
        "RGB": colours.convert("RGB"),
        "CMYK": colours.convert("CMYK"),
        "P": palette,
        "LA": colours.convert("LA"),
        "1": colours.convert("1"),
        "I;16": Image.fromarray(RANDOM.integers(0, 4000, (70, 50), np.uint16)),
        "I": Image.fromarray(RANDOM.integers(-5, 70_000, (70, 50), np.int32)),
        "F": Image.fromarray(fractions),
    }


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("name", pictures())
def test_bands_are_as_one_piece(name: str, mode: Literal["RGB", "L"], monkeypatch: pytest.MonkeyPatch) -> None:
    picture: Any = pictures()[name]
    for orientation in range(1, 9):
        picture.getexif()[ExifTags.Base.Orientation] = orientation
        whole = upright_array(picture, mode)
        assert whole.shape[:2] == ((70, 50) if orientation < 5 else (50, 70))
        with monkeypatch.context() as patched:
            patched.setattr(pixels, "BAND_PX", 50 * 9)
            np.testing.assert_array_equal(upright_array(picture, mode), whole)
