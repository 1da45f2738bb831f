"""FER+: the faces of FER2013 with ten raters' votes each.

Two layouts are read:

- *folders*: ``FER2013Train/``, ``FER2013Valid/`` and ``FER2013Test/``, each with 48x48 grey PNG files and a
  ``label.csv``, as Microsoft's FERPlus repository produces them;
- *tables*: ``fer2013.csv`` as published for the Kaggle challenge (pixels) and ``fer2013new.csv`` as published
  by Microsoft (votes and names).

Source: Barsoum, Zhang, Canton Ferrer, Zhang: *Training Deep Networks for Facial Expression Recognition with
Crowd-Sourced Label Distribution*, arXiv 1608.01041.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.model.datasets.csv_table import lines, rows
from mien.model.emotions import EMOTIONS, UNLABELLED, VOTE_COLUMNS, vote_columns
from mien.model.errors import DatasetError

Split = Literal["Training", "PublicTest", "PrivateTest"]

FACE_PX: Final = 48
"""Height and width of a FER2013 face, in pixels."""

OPINIONS_NAME: Final = "fer2013_labels.csv"
"""The table of FER2013's labels, with the columns ``name`` (of the image, without a suffix) and ``fer2013_label``."""

FER2013_LABELS: Final = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
"""What the numbers from 0 of the column ``emotion`` in ``fer2013.csv`` mean."""

_MAX_VOTES: Final = 1_000_000
"""A larger count means that the file is damaged."""

_FOLDERS: Final[dict[Split, str]] = {
    "Training": "FER2013Train",
    "PublicTest": "FER2013Valid",
    "PrivateTest": "FER2013Test",
}


@dataclass(frozen=True)
class LabelledFaces:
    """Grey face crops with the votes of their raters.

    Attributes:
        names: (n,) file names, unique within FER+, such as ``fer0000000.png``.
        images: (n, 48, 48) uint8.
        votes: (n, c + 2) int64 counts, columns as in ``vote_columns``.
        opinions: (n,) int64, FER2013's label of each face as an index into the emotions, or ``UNLABELLED``; None
            without these labels. They are in ``fer2013.csv``, or in a table of their own (``OPINIONS_NAME``).
        emotions: (c,) names.
    """

    names: tuple[str, ...]
    images: NDArray[np.uint8]
    votes: NDArray[np.int64]
    opinions: NDArray[np.int64] | None = None
    emotions: tuple[str, ...] = EMOTIONS

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> "LabelledFaces":
        """The faces at ``rows`` (indices or a mask), in that order."""
        chosen = np.arange(len(self))[rows]
        return replace(
            self,
            names=tuple(self.names[row] for row in chosen),
            images=self.images[chosen],
            votes=self.votes[chosen],
            opinions=self.opinions[chosen] if self.opinions is not None else None,
        )

    def of(self, emotions: tuple[str, ...]) -> "LabelledFaces":
        """The same faces with votes for other ``emotions``; votes for one that is not among them become ``unknown``."""
        if emotions == self.emotions:
            return self
        former, columns = vote_columns(self.emotions), vote_columns(emotions)
        column_of = {name: place for place, name in enumerate(columns)}
        places = np.array([column_of.get(name, column_of["unknown"]) for name in former], dtype=np.int64)
        votes = self.votes @ np.eye(len(columns), dtype=np.int64)[places]
        opinions = self.opinions
        if opinions is not None:
            # The last entry is that of UNLABELLED, which is -1.
            label_of = np.array([*(column_of.get(name, UNLABELLED) for name in self.emotions), UNLABELLED])
            opinions = label_of[opinions]
        return replace(self, votes=votes, opinions=opinions, emotions=emotions)


def is_ferplus(root: Path) -> bool:
    """Whether a folder holds FER+ in one of its layouts."""
    if (root / "fer2013new.csv").is_file():
        return True
    return any((root / folder / "label.csv").is_file() for folder in _FOLDERS.values())


def read_ferplus(root: Path, split: Split) -> LabelledFaces:
    """Read one split of FER+.

    Args:
        root: the folder that holds the split's folder, or the two tables.
        split: the name of the split in FER2013's ``Usage`` column.

    Raises:
        DatasetError: the folder has neither layout, or a file is malformed.
    """
    folder = root / _FOLDERS[split]
    if (folder / "label.csv").is_file():
        return _with_opinions(_read_folder(folder), root / OPINIONS_NAME)
    if (root / "fer2013.csv").is_file() and (root / "fer2013new.csv").is_file():
        faces = _read_tables(root / "fer2013.csv", root / "fer2013new.csv", split)
        return _with_opinions(faces, root / OPINIONS_NAME)
    raise DatasetError(
        f"{root} holds no FER+ {split} split: expected {_FOLDERS[split]}/label.csv with its PNG files, "
        f"or fer2013.csv and fer2013new.csv; it has {_splits_in(root)}"
    )


def _splits_in(root: Path) -> str:
    """The splits that are in a folder, in words."""
    found = [split for split, folder in _FOLDERS.items() if (root / folder / "label.csv").is_file()]
    return f"the splits {', '.join(found)}" if found else "none of the splits"


def _with_opinions(faces: LabelledFaces, path: Path) -> LabelledFaces:
    """Add FER2013's labels to faces, if there is a table of them.

    Raises:
        DatasetError: the table lacks a column, or a label is no emotion.
    """
    if not path.is_file():
        return faces
    of_name: dict[str, int] = {}
    for line, row in rows(path, ("name", "fer2013_label")):
        label = row["fer2013_label"]
        if label not in EMOTIONS:
            raise DatasetError(
                f"{path}, line {line}: fer2013_label must be one of {', '.join(EMOTIONS)}, got {label!r}"
            )
        of_name[Path(row["name"]).stem] = EMOTIONS.index(label)
    opinions = np.array([of_name.get(Path(name).stem, UNLABELLED) for name in faces.names], dtype=np.int64)
    return replace(faces, opinions=opinions)


@dataclass(frozen=True)
class NearCopies:
    """Groups of images of FER+ that are nearly the same (``duplicates.csv``).

    Attributes:
        group: image name to the number of its group of near copies.
        leaks: validation images that have a near copy in Training.
    """

    group: dict[str, int]
    leaks: frozenset[str]

    def groups_of(self, names: tuple[str, ...]) -> NDArray[np.int64]:
        """(n,) int64 groups; a name that is not listed is alone in its group.

        Groups can be compared across calls, such as those of queries with those of a gallery.
        """
        return np.array([self.group.get(name, _single_group(name)) for name in names], dtype=np.int64)

    def without_leaks(self, faces: LabelledFaces) -> LabelledFaces:
        """The faces that have no near copy in Training."""
        return faces.take(np.array([name not in self.leaks for name in faces.names], dtype=np.bool_))


def _single_group(name: str) -> int:
    """A negative number that depends only on the name; listed groups are not negative."""
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return -1 - (int.from_bytes(digest, "big") >> 1)


def read_near_copies(root: Path) -> NearCopies:
    """Read ``duplicates.csv``; without the file, no image is a near copy of another.

    Raises:
        DatasetError: the file lacks a column, or a group is not a whole number from 0 on.
    """
    path = root / "duplicates.csv"
    if not path.is_file():
        return NearCopies({}, frozenset())
    group: dict[str, int] = {}
    leaks: set[str] = set()
    for line, row in rows(path, ("image", "near_group", "valid_leaks_training")):
        number = row["near_group"].strip()
        if not (number.isascii() and number.isdecimal()):
            raise DatasetError(f"{path}, line {line}: near_group must be a whole number from 0 on, got {number!r}")
        group[row["image"]] = int(number)
        if row["valid_leaks_training"].strip().lower() in ("true", "1"):
            leaks.add(row["image"])
    return NearCopies(group, frozenset(leaks))


class _Face(NamedTuple):
    """Pixels and votes of one face, and perhaps FER2013's label."""

    pixels: NDArray[np.uint8]  # (48, 48)
    votes: list[int]
    opinion: int | None = None


def _read_folder(folder: Path) -> LabelledFaces:
    label_path = folder / "label.csv"
    faces: dict[str, _Face] = {}
    for line, row in lines(label_path):
        if len(row) != 2 + len(VOTE_COLUMNS):
            raise DatasetError(
                f"{label_path}, line {line}: expected a name, a box and {len(VOTE_COLUMNS)} vote counts, "
                f"got {len(row)} fields"
            )
        name = row[0]
        if name in faces:
            raise DatasetError(f"{label_path}, line {line}: expected each image once, got {name} again")
        votes = _counts(row[2:], label_path, line)
        try:
            faces[name] = _Face(_read_png(folder / name), votes)
        except DatasetError as error:
            raise DatasetError(f"{label_path}, line {line}: {error}") from None
    if not faces:
        raise DatasetError(f"{label_path} lists no images")
    return _assemble(faces)


def _read_png(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path, formats=("PNG",)) as image:
            if image.size != (FACE_PX, FACE_PX):
                raise DatasetError(f"{path} must have {FACE_PX}x{FACE_PX} pixels, got {image.width}x{image.height}")
            return np.asarray(image.convert("L"), dtype=np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DatasetError(f"{path} must be a {FACE_PX}x{FACE_PX} PNG file, got {error}") from None


def _read_tables(pixels_path: Path, votes_path: Path, split: Split) -> LabelledFaces:
    """Join pixels and votes on ``Image name``.

    The published ``fer2013.csv`` has no names. As in Microsoft's tool, they are taken from ``fer2013new.csv``, whose
    rows are in the order of ``fer2013.csv``. The number in a name is *not* a row number, and rows without a name are
    pictures without a usable face. The published table has three names twice; the last row counts, as with
    Microsoft's tool, which writes a file for each image.
    """
    labelled = list(rows(votes_path, ("Usage", "Image name", *VOTE_COLUMNS)))
    by_name = {row["Image name"].strip(): (line, row) for line, row in labelled}
    in_order = iter(labelled)
    by_position = False
    faces: dict[str, _Face] = {}
    for line, row in rows(pixels_path, ("pixels", "Usage")):
        by_position = "Image name" not in row
        partner = next(in_order, None) if by_position else by_name.get(row["Image name"].strip())
        if by_position:
            partner_usage = partner[1]["Usage"] if partner else ""
            # The table of votes may lack the last splits, such as PrivateTest, if they are not read.
            if partner_usage != row["Usage"] and (partner or row["Usage"] == split):
                raise _out_of_step(pixels_path, line, row["Usage"], votes_path, partner_usage)
        if row["Usage"] != split or partner is None:
            continue
        vote_line, vote_row = partner
        name = vote_row["Image name"].strip()
        if name:
            votes = _counts([vote_row[column] for column in VOTE_COLUMNS], votes_path, vote_line)
            opinion = _opinion(row["emotion"], pixels_path, line) if "emotion" in row else None
            faces[name] = _Face(_parse_pixels(row["pixels"], pixels_path, line), votes, opinion)
    if not faces:
        raise DatasetError(f"{pixels_path} and {votes_path} share no named image of {split}")
    if by_position and any(row["Usage"] == split for _, row in in_order):
        raise _out_of_step(pixels_path, line + 1, "", votes_path, split)
    return _assemble(faces)


def _out_of_step(pixels_path: Path, line: int, usage: str, votes_path: Path, partner_usage: str) -> DatasetError:
    return DatasetError(
        f"{pixels_path}, line {line}: without a column 'Image name' it needs the rows of {votes_path.name} in the same "
        f"order, got {usage or 'the end'} where {votes_path.name} has {partner_usage or 'its end'}"
    )


def _parse_pixels(text: str, path: Path, line: int) -> NDArray[np.uint8]:
    fields = text.split()
    try:
        values = np.frombuffer(bytes(map(int, fields)), dtype=np.uint8)
    except ValueError:
        raise DatasetError(f"{path}, line {line}: pixels must be whole numbers from 0 to 255") from None
    if values.size != FACE_PX * FACE_PX:
        raise DatasetError(f"{path}, line {line}: expected {FACE_PX * FACE_PX} pixels, got {values.size}")
    return values.reshape(FACE_PX, FACE_PX)


def _opinion(number: str, path: Path, line: int) -> int:
    if number not in tuple(map(str, range(len(FER2013_LABELS)))):
        raise DatasetError(f"{path}, line {line}: emotion must be from 0 to {len(FER2013_LABELS) - 1}, got {number!r}")
    return EMOTIONS.index(FER2013_LABELS[int(number)])


def _counts(fields: list[str], path: Path, line: int) -> list[int]:
    try:
        counts = [int(field) for field in fields]
    except ValueError:
        raise DatasetError(f"{path}, line {line}: vote counts must be whole numbers, got {fields}") from None
    if min(counts) < 0 or max(counts) > _MAX_VOTES:
        raise DatasetError(f"{path}, line {line}: vote counts must be from 0 to {_MAX_VOTES}, got {fields}")
    return counts


def _assemble(faces: dict[str, _Face]) -> LabelledFaces:
    opinions = [face.opinion for face in faces.values() if face.opinion is not None]
    return LabelledFaces(
        tuple(faces),
        np.stack([face.pixels for face in faces.values()]),
        np.array([face.votes for face in faces.values()], dtype=np.int64),
        np.array(opinions, dtype=np.int64) if opinions else None,
    )
