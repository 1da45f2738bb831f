import json
from pathlib import Path

import numpy as np
import pytest

from mien.index.evaluation.groups import EVERYBODY, group_figures, read_photographs, wilson_interval
from mien.index.evaluation.predictions import NOT_SAID, Predictions, group_names
from mien.model.datasets.base import LabelledPhotographs
from mien.model.emotions import EMOTIONS
from mien.model.errors import DatasetError
from mien.service.commands.main import main


def test_figures_are_means_over_people_not_photographs() -> None:
    photographs = LabelledPhotographs(
        "made",
        tuple(Path(f"{row}.jpg") for row in range(7)),
        np.array([1, 1, 1, 1, 1, 0, 0]),
        ("a", "a", "a", "a", "b", "c", "c"),
        cropped=False,
        boxes=None,
        left_out={},
        metadata={"gender": ("female",) * 5 + ("male",) * 2},
    )
    found = np.array([0, 1, 2, 3, 4, 6])
    posteriors = np.eye(8)[[1, 1, 1, 1, 0, 0]]
    predictions = Predictions(
        EMOTIONS,
        (),
        photographs.labels[found],
        posteriors,
        posteriors,
        typicality=np.full(6, 0.4),
        known=np.ones(6, dtype=np.bool_),
        embeddings=np.zeros((6, 2), np.float32),
        metadata={},
    )
    everybody, female, male = group_figures(photographs, found, predictions)
    assert (everybody.group, everybody.people, everybody.photographs) == (EVERYBODY, 3, 7)
    assert (female.people, male.people) == (2, 1)
    named, faces = female.figures["named"], male.figures["found"]
    assert named is not None
    assert named.mean == pytest.approx(0.5)  # 4 of 5 photographs, but 1 of 2 people
    assert named.interval == wilson_interval(0.5, 2)
    assert faces is not None
    assert faces.mean == pytest.approx(0.5)
    assert "named neutral" not in female.figures
    assert everybody.figures["named neutral"].people == 1  # type: ignore[union-attr]
    assert everybody.figures["typicality"].mean == pytest.approx(0.4)  # type: ignore[union-attr]


def test_wilson_interval_solves_the_score_equation() -> None:
    """Source: Brown, Cai, DasGupta: Interval Estimation for a Binomial Proportion, 2001."""
    for share, count in ((0.0, 10), (0.3, 10), (1.0, 20), (0.5, 2)):
        low, high = wilson_interval(share, count)
        assert 0 <= low <= share <= high <= 1
        for end in (low, high):
            if 1e-9 < end < 1 - 1e-9:
                assert abs(end - share) == pytest.approx(1.959964 * np.sqrt(end * (1 - end) / count))


def test_many_numbers_are_split_into_thirds(tmp_path: Path) -> None:
    lines = ["image,label,subject,age,gender"]
    for row, age in enumerate(["20", "21", "22", "30", "31", "32", "40", "41", "42", ""]):
        (tmp_path / f"{row}.jpg").write_bytes(b"")
        lines.append(f"{row}.jpg,neutral,p{row},{age},{'female' if row % 2 else ''}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    columns = read_photographs(tmp_path).metadata
    assert list(columns) == ["age", "gender"]
    ages = group_names(columns["age"])
    assert ages[-1] == NOT_SAID
    assert [ages.count(name) for name in dict.fromkeys(ages)] == [3, 3, 3, 1]
    assert set(group_names(columns["gender"])) == {"female", NOT_SAID}


def test_table_without_groups_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    (tmp_path / "labels.csv").write_text("image,label,subject\na.jpg,neutral,x\n")
    with pytest.raises(DatasetError, match="must have a column with the group of each person"):
        read_photographs(tmp_path)


def test_command_scores_the_london_photographs(
    london_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (london_root / "labels.csv").read_text().splitlines()
    chosen = [line for line in lines[1:] if line.split(",")[1] in {"001", "006", "017"}]
    table = tmp_path / "labels.csv"
    table.write_text("\n".join([lines[0], *(f"{london_root}/{line}" for line in chosen)]) + "\n")
    document = tmp_path / "groups.md"
    assert main(["groups", str(table), "--json", "--markdown", str(document)]) == 0
    everybody, *groups = json.loads(capsys.readouterr().out)
    assert everybody["people"] == len(chosen) // 2
    assert everybody["figures"]["found"]["mean"] == 1
    assert {each["column"] for each in groups} == {"age", "gender", "ethnicity"}
    text = document.read_text()
    assert f"{len(chosen)} photographs of {len(chosen) // 2} people" in text
    assert text.count("\n| ") >= len(groups) + 1
