"""Contact sheets: what the sub-classes of an emotion look like, where the images are at hand.

They show faces, so they are for the eyes of whoever has the data, and go into no bundle.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mien.index.mixture.sub_classes import SubClass
from mien.model.emotions import VOTE_COLUMNS
from mien.model.files import write_atomically

_FACE_PX: Final = 96
_GAP_PX: Final = 6
_CAPTION_PX: Final = 34
_CAPTION_FROM: Final = 0.01
"""The smallest difference in votes that is worth a word."""


def write_contact_sheet(
    path: Path,
    subclasses: Sequence[SubClass],
    crops: Mapping[str, NDArray[np.uint8]],
    means: Sequence[NDArray[np.floating]],
) -> None:
    """Write a PNG with a row for each sub-class: its mean face, then the faces nearest to its centroid.

    Args:
        path: the file.
        subclasses: of one emotion.
        crops: (h, w) uint8 images by gallery id; faces that are not there are left blank.
        means: (h, w) the mean image of each sub-class's faces, 0 to 255.
    """
    columns = 1 + max((len(each.nearest) for each in subclasses), default=0)
    step, row_px = _FACE_PX + _GAP_PX, _FACE_PX + _CAPTION_PX
    sheet = Image.new("L", (columns * step + _GAP_PX, len(subclasses) * row_px + _GAP_PX), 255)
    draw = ImageDraw.Draw(sheet)
    for row, (each, average) in enumerate(zip(subclasses, means, strict=True)):
        top = row * row_px + _GAP_PX
        draw.text((_GAP_PX, top), caption(each), fill=0, font_size=16)
        faces = [_stretched(average), *(crops.get(face) for face in each.nearest)]
        for column, face in enumerate(faces):
            if face is not None:
                shown = Image.fromarray(face).resize((_FACE_PX, _FACE_PX), Image.Resampling.BICUBIC)
                sheet.paste(shown, (_GAP_PX + column * step, top + _CAPTION_PX - 2 * _GAP_PX))
    with write_atomically(path) as file:
        sheet.save(file, "PNG")


def _stretched(average: NDArray[np.floating]) -> NDArray[np.uint8]:
    """From black to white: a mean of thousands of faces has little contrast left."""
    low, high = float(average.min()), float(average.max())
    return np.asarray((average - low) / max(high - low, 1) * 255).astype(np.uint8)


def caption(subclass: SubClass) -> str:
    """One line: id, share of the emotion, and where its votes differ most from its siblings'."""
    order = np.argsort(-np.abs(subclass.difference))[:3]
    words = [
        f"{subclass.difference[column]:+.0%} {VOTE_COLUMNS[column]}"
        for column in order
        if abs(subclass.difference[column]) >= _CAPTION_FROM
    ]
    return f"{subclass.id}  {subclass.weight:.0%} of {subclass.emotion}" + (
        f"  votes: {', '.join(words)}" if words else ""
    )
