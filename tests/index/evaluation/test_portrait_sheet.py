from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.index.bundle.bundle import load_bundle
from mien.index.bundle.default import default_bundle
from mien.index.errors import BundleError
from mien.index.evaluation.portrait_sheet import write_portrait_sheet
from tests.support.small_run import SmallRun


def test_it_has_a_portrait_for_each_emotion_and_sub_class(tmp_path: Path) -> None:
    bundle = load_bundle(default_bundle())
    assert bundle.subclasses is not None
    write_portrait_sheet(tmp_path / "portraits.png", bundle)
    with Image.open(tmp_path / "portraits.png") as image:
        pixels = np.asarray(image.convert("L"))
    parts = [sum(each.emotion == emotion for each in bundle.subclasses.each) for emotion in bundle.mixture.emotions]
    for line, count in enumerate(parts):
        for column in range(max(parts) + 1):
            x, y = 10 + column * 122, 10 + line * 138
            painted = pixels[y : y + 112, x : x + 112].std() > 10
            assert painted == (column <= count), (line, column)


def test_a_bundle_without_portraits_has_no_sheet(tmp_path: Path, small_run: SmallRun) -> None:
    with pytest.raises(BundleError, match="mien portraits makes them"):
        write_portrait_sheet(tmp_path / "portraits.png", load_bundle(small_run.bundle))
