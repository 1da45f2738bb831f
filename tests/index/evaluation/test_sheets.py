from pathlib import Path

import numpy as np
from PIL import Image

from mien.index.evaluation.sheets import caption, write_contact_sheet
from mien.index.mixture.sub_classes import SubClasses


def test_contact_sheet_has_a_row_for_each_sub_class(subclasses: SubClasses, tmp_path: Path) -> None:
    path = tmp_path / "happiness.png"
    rows = subclasses.each[1:]
    write_contact_sheet(
        path, rows, {"a": np.full((48, 48), 90, dtype=np.uint8)}, [np.linspace(80, 120, 48)[:, None].repeat(48, 1)] * 2
    )
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet)
    assert pixels.shape == (2 * 130 + 6, 3 * 102 + 6)
    first = pixels[28:124, 6:102]
    assert (first[0].max(), first[-1].min()) == (0, 255), "the mean face stands first, from black to white"
    assert (pixels == 90).sum() >= 2 * 96 * 96, "the one face at hand, twice"
    assert caption(rows[1]) == "happiness/2  30% of happiness  votes: +25% surprise"
    assert caption(rows[0]) == "happiness/1  70% of happiness"
