"""Sheets of faces: contact sheets of sub-classes, and the portraits of a bundle.

A contact sheet shows faces of the data set; it is for people who may see that, and goes into no bundle.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mien.index.bundle.bundle import Bundle
from mien.index.errors import BundleError
from mien.index.mixture.sub_classes import SubClass, SubClasses
from mien.index.views.portraits import load_painter
from mien.model.datasets.ferplus import LabelledFaces
from mien.model.emotions import VOTE_COLUMNS
from mien.model.errors import DatasetError
from mien.model.files import write_atomically

_FACE_PX: Final = 96
_GAP_PX: Final = 6
_CAPTION_PX: Final = 34
_SAMPLE: Final = 12
"""Faces of a sub-class that a contact sheet shows besides those nearest to its centroid."""

_MIN_DIFFERENCE: Final = 0.01
"""The smallest difference in votes that a caption names."""

_PORTRAIT_PX: Final = 112
_MARGIN_PX: Final = 10
_NAME_PX: Final = 26


def write_contact_sheets(folder: Path, faces: LabelledFaces, sub_classes: SubClasses) -> None:
    """Write ``EMOTION.png`` for each emotion: see ``write_contact_sheet``.

    Args:
        folder: where.
        faces: those of the bundle's gallery; others are not shown.
        sub_classes: of the bundle.

    Raises:
        DatasetError: a sub-class has no face among them.
    """
    crops = {Path(name).stem: image for name, image in zip(faces.names, faces.images, strict=True)}
    rows = np.array([sub_classes.of_face.get(face, -1) for face in crops])
    for emotion in sub_classes.emotions:
        own = sub_classes.rows_of(emotion)
        for row in own:
            if not (rows == row).any():
                raise DatasetError(
                    f"{sub_classes.each[row].id} must have faces among those to show, it has none: the data must be "
                    "that of the bundle's gallery"
                )
        members = [np.flatnonzero(rows == row) for row in own]
        means = [faces.images[each].mean(axis=0) for each in members]
        samples = [faces.images[each[np.linspace(0, len(each) - 1, _SAMPLE).astype(int)]] for each in members]
        write_contact_sheet(
            folder / f"{emotion}.png",
            [sub_classes.each[row] for row in own],
            crops,
            means,
            samples,
            vote_columns=sub_classes.vote_columns,
        )


def write_contact_sheet(
    path: Path,
    sub_classes: Sequence[SubClass],
    crops: Mapping[str, NDArray[np.uint8]],
    means: Sequence[NDArray[np.floating]],
    samples: Sequence[NDArray[np.uint8]],
    *,
    vote_columns: tuple[str, ...] = VOTE_COLUMNS,
) -> None:
    """Write a PNG with a row for each sub-class: its mean face, the faces nearest to its centroid, a gap, a sample.

    Near the centroid a sub-class looks more uniform than it is; a name must hold for the sample as well.

    Args:
        path: the file.
        sub_classes: of one emotion.
        crops: gallery id to image, (h, w) uint8; other faces are left blank.
        means: (h, w) the mean image of each sub-class's faces, 0 to 255.
        samples: (m, h, w) faces of each sub-class, wherever they lie.
        vote_columns: of the sub-classes.
    """
    first = 2 + max((len(each.nearest) for each in sub_classes), default=0)  # column of the sample
    columns = first + max(map(len, samples), default=0)
    step, row_px = _FACE_PX + _GAP_PX, _FACE_PX + _CAPTION_PX
    sheet = Image.new("L", (columns * step + _GAP_PX, len(sub_classes) * row_px + _GAP_PX), 255)
    draw = ImageDraw.Draw(sheet)
    for row, (each, average, sample) in enumerate(zip(sub_classes, means, samples, strict=True)):
        top = row * row_px + _GAP_PX
        draw.text((_GAP_PX, top), caption(each, vote_columns), fill=0, font_size=16)
        faces = [_stretched(average), *(crops.get(face) for face in each.nearest)]
        for column, face in (*enumerate(faces), *enumerate(sample, first)):
            if face is not None:
                picture = Image.fromarray(face).resize((_FACE_PX, _FACE_PX), Image.Resampling.BICUBIC)
                sheet.paste(picture, (_GAP_PX + column * step, top + _CAPTION_PX - 2 * _GAP_PX))
    with write_atomically(path) as file:
        sheet.save(file, "PNG")


def _stretched(average: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Stretched from black to white; a mean of thousands of faces has little contrast."""
    low, high = float(average.min()), float(average.max())
    return np.asarray((average - low) / max(high - low, 1) * 255).astype(np.uint8)


def caption(subclass: SubClass, columns: tuple[str, ...] = VOTE_COLUMNS) -> str:
    """One line: id and name, share of the emotion, and the largest differences of its votes from its siblings'."""
    order = np.argsort(-np.abs(subclass.difference))[:3]
    differences = [
        f"{subclass.difference[column]:+.0%} {columns[column]}"
        for column in order
        if abs(subclass.difference[column]) >= _MIN_DIFFERENCE
    ]
    name = f" ({subclass.name})" if subclass.name is not None else ""
    return f"{subclass.id}{name}  {subclass.weight:.0%} of {subclass.emotion}" + (
        f"  votes: {', '.join(differences)}" if differences else ""
    )


def write_portrait_sheet(path: Path, bundle: Bundle) -> None:
    """Write a PNG with a row for each emotion: its portrait, then those of its sub-classes.

    Raises:
        BundleError: the bundle has no portraits.
    """
    painter = load_painter(bundle)
    if painter is None:
        raise BundleError(f"the bundle {bundle.folder} has no portraits: mien portraits makes them")
    rows = [[(emotion, bundle.mixture.centroids[place])] for place, emotion in enumerate(bundle.mixture.emotions)]
    for each in bundle.sub_classes.each if bundle.sub_classes is not None else ():
        rows[bundle.mixture.emotions.index(each.emotion)].append((each.id, each.centroid))
    width = _MARGIN_PX + max(map(len, rows)) * (_PORTRAIT_PX + _MARGIN_PX)
    sheet = Image.new("RGB", (width, _MARGIN_PX + len(rows) * (_PORTRAIT_PX + _NAME_PX)), "#ffffff")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for line, row in enumerate(rows):
        faces = painter.paint(np.stack([centroid for _, centroid in row]))
        for column, ((name, _), face) in enumerate(zip(row, faces, strict=True)):
            x, y = (
                _MARGIN_PX + column * (_PORTRAIT_PX + _MARGIN_PX),
                _MARGIN_PX + line * (_PORTRAIT_PX + _NAME_PX),
            )
            portrait = Image.fromarray(face).resize((_PORTRAIT_PX, _PORTRAIT_PX), Image.Resampling.BICUBIC)
            sheet.paste(portrait.convert("RGB"), (x, y))
            draw.text((x, y + _PORTRAIT_PX + 3), name, fill="#222222", font=font)
    sheet.save(path, "PNG")
