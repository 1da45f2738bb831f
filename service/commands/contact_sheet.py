"""The contact sheet of ``mien retrieve``: one image with each face of a picture and its matches."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mien.index.errors import QueryError
from mien.model.errors import ConfigError
from mien.model.faces.reader import Face
from mien.service.answers.faces import FoundMatch, MatchedFace
from mien.service.inference.engine import Engine
from mien.service.inference.portraits import PortraitCache
from mien.service.schemas.queries import FaceIdQuery, point_of

MAX_MATCHES: Final = 200
"""Matches of one face on a sheet: more would be a picture of gigabytes."""

MAX_LINES: Final = 150
"""Lines of a sheet, over all faces: 150 MB in memory, and below the height of 32,767 pixels that most programs show."""

_FACE_PX: Final = 144
_CAPTION_PX: Final = 40
_GAP_PX: Final = 12
_COLUMNS: Final = 10
_PAPER, _INK, _SOFT, _FRAME = "#ffffff", "#222222", "#6b6b6b", "#b4461e"


def check_sheet(path: Path, k: int) -> None:
    """Refuse a sheet that cannot be drawn, before any work.

    Raises:
        ConfigError: the file's name does not end in .png.
        QueryError: there would be too many matches.
    """
    if path.suffix.lower() != ".png":
        raise ConfigError(f"--contact-sheet must be a name that ends in .png, got {path}")
    if k > MAX_MATCHES:
        raise QueryError(f"a contact sheet shows at most {MAX_MATCHES} matches of a face, got k={k}")


def contact_sheet(engine: Engine, faces: Sequence[Face], answers: Sequence[MatchedFace]) -> Image.Image:
    """The sheet: for each face its crop, in a frame, and its matches, nearest first.

    A match is shown as its thumbnail where the gallery keeps one, else as the portrait of its point.

    Args:
        engine: the engine that answered.
        faces: of the picture, with their crops.
        answers: of the faces, in the same order.

    Raises:
        QueryError: there are more lines than a sheet has, or a match has neither a thumbnail nor a portrait.
    """
    lines = [max(1, -(-len(answer.matches) // _COLUMNS)) for answer in answers]
    if sum(lines) > MAX_LINES:
        most_k = MAX_LINES // len(lines) * _COLUMNS
        advice = f"ask for -k {most_k} or less" if most_k else "cut the picture into parts"
        raise QueryError(
            f"a contact sheet has {MAX_LINES} lines of {_COLUMNS} matches, "
            f"{len(lines)} faces need {sum(lines)}: {advice}"
        )
    portraits = PortraitCache(engine.bundle)
    width = _GAP_PX + (1 + _COLUMNS) * (_FACE_PX + _GAP_PX)
    height = _GAP_PX + sum(lines) * (_FACE_PX + _CAPTION_PX)
    sheet = Image.new("RGB", (width, height), _PAPER)
    line = 0
    for face, answer, height_lines in zip(faces, answers, lines, strict=True):
        _place(sheet, line, 0, Image.fromarray(face.crop), (answer.emotion, "query"), frame=True)
        pictures = _pictures(engine, portraits, answer.matches)
        for rank, (match, picture) in enumerate(zip(answer.matches, pictures, strict=True)):
            caption = (match.label or match.emotion or "", f"{match.distance:.2f}")
            _place(sheet, line + rank // _COLUMNS, 1 + rank % _COLUMNS, picture, caption)
        line += height_lines
    return sheet


def _pictures(engine: Engine, portraits: PortraitCache, matches: Sequence[FoundMatch]) -> list[Image.Image]:
    found = engine.gallery.thumbnails([match.id for match in matches])
    thumbnails = [found.get(match.id) for match in matches]
    missing = [match.id for match, thumbnail in zip(matches, thumbnails, strict=True) if thumbnail is None]
    painted: dict[str, NDArray[np.uint8]] = {}
    if missing:
        points = np.stack([point_of(FaceIdQuery(id=face_id), engine.bundle, engine.gallery) for face_id in missing])
        painted = dict(zip(missing, portraits.paint(points.astype(np.float32)), strict=True))
    return [
        Image.fromarray(painted[match.id]) if thumbnail is None else Image.open(BytesIO(thumbnail))
        for match, thumbnail in zip(matches, thumbnails, strict=True)
    ]


def _place(
    sheet: Image.Image, line: int, column: int, picture: Image.Image, caption: tuple[str, str], *, frame: bool = False
) -> None:
    x, y = _GAP_PX + column * (_FACE_PX + _GAP_PX), _GAP_PX + line * (_FACE_PX + _CAPTION_PX)
    sheet.paste(picture.convert("RGB").resize((_FACE_PX, _FACE_PX), Image.Resampling.BICUBIC), (x, y))
    draw = ImageDraw.Draw(sheet)
    if frame:
        draw.rectangle((x - 3, y - 3, x + _FACE_PX + 2, y + _FACE_PX + 2), outline=_FRAME, width=3)
    name, note = caption
    draw.text((x, y + _FACE_PX + 5), name, fill=_INK, font=ImageFont.load_default(13))
    draw.text((x + _FACE_PX, y + _FACE_PX + 5), note, fill=_SOFT, font=ImageFont.load_default(13), anchor="ra")
