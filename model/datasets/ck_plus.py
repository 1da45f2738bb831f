"""CK+ (Extended Cohn-Kanade): posed expressions, each a sequence of frames from the neutral face to its peak.

    cohn-kanade-images/S005/001/S005_001_00000001.png ... S005_001_00000011.png
    Emotion/S005/001/S005_001_00000011_emotion.txt            one number; only 327 of 593 sequences have one

These are the folders inside the published archives. They may also be in the folders of the archives themselves
(``extended-cohn-kanade-images/`` and ``Emotion_labels/``).

Source: Lucey, Cohn, Kanade, Saragih, Ambadar, Matthews: *The Extended Cohn-Kanade Dataset (CK+)*, CVPR Workshops 2010.
"""

import re
from pathlib import Path
from typing import Final

from mien.model.datasets.base import Collection, LabelledPhotographs, check_split, first_folder
from mien.model.errors import DatasetError

EMOTION_CODES: Final = ("neutral", "anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise")
"""CK+'s classes in the order of their numbers."""

SPLITS: Final = ("all", "peaks")

_FRAME: Final = re.compile(r"(?P<subject>S\d+)_(?P<sequence>\d+)_\d+\.png", re.ASCII)

_LABEL: Final = "_emotion.txt"


def read_ck_plus(root: Path, split: str = "all") -> LabelledPhotographs:
    """Read the labelled sequences of CK+.

    The label belongs to the last frame, the peak. Every sequence begins with a neutral face, so the first frame of
    each labelled sequence is labelled neutral, as is usual.

    Args:
        root: the folder that holds ``cohn-kanade-images`` and ``Emotion``.
        split: ``all``, or ``peaks`` for the labelled frames without the neutral ones.

    Raises:
        DatasetError: the folder has another layout, a label has no frame, or is not the number of an emotion.
    """
    check_split(split, SPLITS, "CK+")
    images = first_folder(root, ("cohn-kanade-images", "extended-cohn-kanade-images/cohn-kanade-images"), "CK+ images")
    labels = first_folder(root, ("Emotion", "Emotion_labels/Emotion"), "CK+ labels")
    collection = Collection(f"CK+ {split}")
    labelled: set[tuple[str, ...]] = set()
    for label in sorted(labels.glob(f"*/*/*{_LABEL}")):
        if label.name.startswith("."):
            continue
        subject, sequence = label.parts[-3:-1]
        if (subject, sequence) in labelled:
            raise DatasetError(f"{label}: expected one label per sequence, got another")
        labelled.add((subject, sequence))
        emotion = _emotion(label)
        frames = _frames(images / subject / sequence)
        peak_name = label.name.removesuffix(_LABEL) + ".png"
        if peak_name not in frames:
            raise DatasetError(f"{label}: expected its frame {images / subject / sequence / peak_name}, found none")
        if split == "all" and frames[0] != peak_name:
            collection.add(images / subject / sequence / frames[0], "neutral", subject=subject)
        collection.add(images / subject / sequence / peak_name, emotion, subject=subject)
    sequences = sum(1 for path in images.glob("S*/*/") if path.is_dir() and any(path.glob("*.png")))
    collection.leave_out("sequences without an emotion label", sequences - len(labelled))
    return collection.photographs()


def _frames(folder: Path) -> list[str]:
    """The names of a sequence's frames in their order, as their numbers have leading zeros."""
    return sorted(path.name for path in folder.glob("*.png") if _FRAME.fullmatch(path.name))


def _emotion(label: Path) -> str:
    """The emotion of a label file, which holds one number, written as a float."""
    try:
        text = label.read_text(encoding="ascii").strip()
        code = float(text)
    except ValueError:
        raise DatasetError(f"{label}, line 1: expected one number, got something else") from None
    if code not in range(len(EMOTION_CODES)):
        raise DatasetError(f"{label}, line 1: expected a whole number from 0 to {len(EMOTION_CODES) - 1}, got {text}")
    return EMOTION_CODES[int(code)]
