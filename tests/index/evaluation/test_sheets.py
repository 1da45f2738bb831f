from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.index.bundle.bundle import Bundle, load_bundle
from mien.index.errors import BundleError
from mien.index.evaluation.sheets import caption, write_contact_sheet, write_portrait_sheet
from mien.index.mixture.sub_classes import SubClasses
from tests.support.small_run import SmallRun


def test_contact_sheet_has_a_row_for_each_sub_class(sub_classes: SubClasses, tmp_path: Path) -> None:
    path = tmp_path / "happiness.png"
    rows = sub_classes.each[1:]
    write_contact_sheet(
        path,
        rows,
        {"a": np.full((48, 48), 90, dtype=np.uint8)},
        [np.linspace(80, 120, 48)[:, None].repeat(48, 1)] * 2,
        [np.full((1, 48, 48), 70, dtype=np.uint8), np.zeros((0, 48, 48), dtype=np.uint8)],
    )
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet)
    assert pixels.shape == (2 * 130 + 6, 5 * 102 + 6)
    first = pixels[28:124, 6:102]
    assert (first[0].max(), first[-1].min()) == (0, 255), "the mean face stands first, from black to white"
    assert (pixels == 90).sum() >= 2 * 96 * 96, "the one face at hand, twice"
    assert (pixels[28:124, 414:510] == 70).all(), "the sample stands last, behind a gap"
    assert caption(rows[1]) == "happiness/2  30% of happiness  votes: +25% surprise"
    assert caption(rows[0]) == "happiness/1  70% of happiness"


def test_portrait_sheet_has_each_emotion_and_sub_class(tmp_path: Path, shipped_bundle: Bundle) -> None:
    assert shipped_bundle.sub_classes is not None
    write_portrait_sheet(tmp_path / "portraits.png", shipped_bundle)
    with Image.open(tmp_path / "portraits.png") as image:
        pixels = np.asarray(image.convert("L"))
    parts = [
        sum(each.emotion == emotion for each in shipped_bundle.sub_classes.each)
        for emotion in shipped_bundle.mixture.emotions
    ]
    for line, count in enumerate(parts):
        for column in range(max(parts) + 1):
            x, y = 10 + column * 122, 10 + line * 138
            painted = pixels[y : y + 112, x : x + 112].std() > 10
            assert painted == (column <= count), (line, column)


def test_portrait_sheet_needs_portraits(tmp_path: Path, small_run: SmallRun) -> None:
    with pytest.raises(BundleError, match="mien portraits makes them"):
        write_portrait_sheet(tmp_path / "portraits.png", load_bundle(small_run.bundle))
