"""RAF-DB, basic emotions: faces from the web, labelled by some 40 annotators each.

    EmoLabel/list_patition_label.txt                         train_00001.jpg 5
    Image/aligned/train_00001_aligned.jpg                    100x100, turned and scaled by eyes and mouth
    Image/original/train_00001.jpg
    Annotation/boundingbox/train_00001_boundingbox.txt       left, top, right and bottom of the labelled face

Source: Li, Deng, Du: *Reliable Crowdsourcing and Deep Locality-Preserving Learning for Expression Recognition in the
Wild*, CVPR 2017.
"""

from pathlib import Path
from typing import Final, Literal

from mien.model.datasets.base import SUFFIXES, Collection, LabelledPhotographs, check_split
from mien.model.errors import DatasetError
from mien.model.faces.box import Box

EMOTION_CODES: Final = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
"""RAF-DB's classes in the order of their numbers, from 1 on."""

SPLITS: Final = ("all", "test", "train")

Images = Literal["aligned", "original"]

_LISTS: Final = ("list_patition_label.txt", "list_partition_label.txt")
"""The name in the archive, and the one in its read-me."""


def read_raf_db(root: Path, split: str = "all", *, images: Images | None = None) -> LabelledPhotographs:
    """Read the single-label part of RAF-DB.

    Args:
        root: the folder that holds ``EmoLabel`` and ``Image``, directly or in ``basic``.
        split: ``all``, ``test`` or ``train``.
        images: the aligned crops, or the originals, with boxes if there is a folder ``Annotation``; None takes the
            aligned crops if ``Image`` has them.

    Raises:
        DatasetError: the folder has another layout, or the list does not match the photographs.
    """
    check_split(split, SPLITS, "RAF-DB")
    base = next((folder for folder in (root, root / "basic") if (folder / "EmoLabel").is_dir()), root)
    label_list = next((path for name in _LISTS if (path := base / "EmoLabel" / name).is_file()), None)
    kinds: tuple[Images, ...] = ("aligned", "original") if images is None else (images,)
    kind = next((kind for kind in kinds if (base / "Image" / kind).is_dir()), None)
    if label_list is None or kind is None:
        raise DatasetError(
            f"{root} holds no RAF-DB: expected EmoLabel/{_LISTS[0]} and Image/{' or Image/'.join(kinds)}/"
        )
    folder, boxes = base / "Image" / kind, base / "Annotation" / "boundingbox"
    waiting = {path.name for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and _part(path.name, split)}
    collection = Collection(f"RAF-DB {split}, {kind} images", cropped=kind == "aligned")
    for line, text in enumerate(label_list.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if not text.strip():
            continue
        try:
            name, emotion = _entry(text)
            if not _part(name, split):
                continue
            image = f"{Path(name).stem}_aligned{Path(name).suffix}" if kind == "aligned" else name
            box = _box(boxes / f"{Path(name).stem}_boundingbox.txt") if kind == "original" and boxes.is_dir() else None
            collection.add(folder / image, emotion, box=box)
            if image not in waiting:
                raise DatasetError(f"expected each photograph once, got {name} again")  # noqa: TRY301  line added below
            waiting.remove(image)
        except DatasetError as error:
            raise DatasetError(f"{label_list}, line {line}: {error}") from None
    collection.leave_out("not in the list of labels", len(waiting))
    return collection.photographs()


def _part(name: str, split: str) -> bool:
    return split == "all" or name.startswith(f"{split}_")


def _entry(text: str) -> tuple[str, str]:
    """File name and emotion of a line of the list."""
    fields = text.split()
    if len(fields) != 2 or not fields[0].startswith(("train_", "test_")):
        raise DatasetError(f"expected a name such as train_00001.jpg and a number, got {text.strip()!r}")
    if fields[1] not in map(str, range(1, len(EMOTION_CODES) + 1)):
        raise DatasetError(f"expected an emotion from 1 to {len(EMOTION_CODES)}, got {fields[1]!r}")
    return fields[0], EMOTION_CODES[int(fields[1]) - 1]


def _box(path: Path) -> Box:
    try:
        left, top, right, bottom = map(float, path.read_text(encoding="ascii").split())
    except FileNotFoundError:
        raise DatasetError(f"expected the box {path}, found none") from None
    except ValueError:
        raise DatasetError(f"{path}: expected four numbers, left, top, right and bottom") from None
    if not (left < right and top < bottom):
        raise DatasetError(f"{path}: expected a box with an area, got {left}, {top}, {right}, {bottom}")
    return left, top, right - left, bottom - top
