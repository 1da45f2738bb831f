"""A picture of the space: the average face of each emotion, and beside it those of its sub-classes."""

from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mien.index.bundle.bundle import Bundle
from mien.index.errors import BundleError
from mien.index.fitting.portraits import load_painter

_FACE_PX: Final = 112
_CAPTION_PX: Final = 26
_GAP_PX: Final = 10
_PAPER, _INK = "#ffffff", "#222222"


def write_portrait_sheet(path: Path, bundle: Bundle) -> None:
    """Write a PNG with a row for each emotion: its portrait, then those of its sub-classes.

    Raises:
        BundleError: the bundle has no portraits.
    """
    painter = load_painter(bundle)
    if painter is None:
        raise BundleError(f"the bundle {bundle.folder} has no portraits: mien portraits makes them")
    rows = [[(emotion, bundle.mixture.centroids[place])] for place, emotion in enumerate(bundle.mixture.emotions)]
    for each in bundle.subclasses.each if bundle.subclasses is not None else ():
        rows[bundle.mixture.emotions.index(each.emotion)].append((each.id, each.centroid))
    width = _GAP_PX + max(map(len, rows)) * (_FACE_PX + _GAP_PX)
    sheet = Image.new("RGB", (width, _GAP_PX + len(rows) * (_FACE_PX + _CAPTION_PX)), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for line, row in enumerate(rows):
        faces = painter.paint(np.stack([centroid for _, centroid in row]))
        for column, ((name, _), face) in enumerate(zip(row, faces, strict=True)):
            x, y = _GAP_PX + column * (_FACE_PX + _GAP_PX), _GAP_PX + line * (_FACE_PX + _CAPTION_PX)
            sheet.paste(
                Image.fromarray(face).resize((_FACE_PX, _FACE_PX), Image.Resampling.BICUBIC).convert("RGB"), (x, y)
            )
            draw.text((x, y + _FACE_PX + 3), name, fill=_INK, font=font)
    sheet.save(path, "PNG")
