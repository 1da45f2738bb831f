"""Predictions for each face of a data set: figures with intervals, groups, and two bundles on the same faces."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.index.evaluation.predictions import Predictions, compare, figures, figures_by
from mien.model.errors import DatasetError
from mien.service.commands.main import main
from tests.support.faces import MakeFaces
from tests.support.small_run import SmallRun

EMOTIONS = ("neutral", "happiness", "surprise")


def made(correct: float, count: int = 300, seed: int = 0) -> Predictions:
    """Faces of three emotions, of which a share is named correctly, the same ones for the same seed."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    named = np.where(generator.random(count) < correct, labels, (labels + 1) % 3)
    posteriors = 0.1 + 0.7 * np.eye(3)[named]
    return Predictions(
        EMOTIONS,
        tuple(f"{row}.jpg" for row in range(count)),
        labels,
        posteriors,
        posteriors,
        np.linspace(0, 1, count),
        np.linspace(0, 1, count) > 0.05,
        generator.normal(size=(count, 4)).astype(np.float32),
        {"camera": tuple("ab"[row % 2] for row in range(count)), "age": tuple(str(row % 90) for row in range(count))},
    )


def test_figures_have_intervals_around_them() -> None:
    predictions = made(0.8)
    found = figures(predictions)
    hits = predictions.predicted == predictions.labels
    assert found["accuracy"][0] == pytest.approx(hits.mean())
    recalls = [hits[predictions.labels == label].mean() for label in range(3)]
    assert found["balanced_accuracy"][0] == pytest.approx(np.mean(recalls))
    assert [found["recall"][name][0] for name in EMOTIONS] == pytest.approx(recalls)
    assert found["faces"] == dict.fromkeys(EMOTIONS, 100)
    for value, low, high in (found["accuracy"], found["balanced_accuracy"], *found["recall"].values()):
        assert low < value < high
        assert high - low < 0.25
    assert 0.5 < found["mean_auroc"] < 1


def test_emotion_that_no_face_has_is_left_out() -> None:
    predictions = made(0.9)
    rows = predictions.labels < 2
    two = replace(
        predictions,
        labels=predictions.labels[rows],
        posteriors=predictions.posteriors[rows],
        data_posteriors=predictions.data_posteriors[rows],
    )
    assert list(figures(two)["recall"]) == ["neutral", "happiness"]
    assert list(figures(two)["auroc"]) == ["neutral", "happiness"]


def test_groups_of_a_column() -> None:
    predictions = made(0.8)
    groups = figures_by(predictions, "camera")
    assert [(each["group"], each["faces"]) for each in groups] == [("a", 150), ("b", 150)]
    hits = (predictions.predicted == predictions.labels)[::2]
    assert groups[0]["accuracy"][0] == pytest.approx(hits.mean())
    assert len(figures_by(predictions, "age")) == 3
    with pytest.raises(DatasetError, match="the column must be one of camera, age, got 'gender'"):
        figures_by(predictions, "gender")


def test_subjects_that_are_numbers_are_no_ranges() -> None:
    predictions = made(0.8)
    numbered = replace(predictions, metadata={"subject": tuple(str(row % 20) for row in range(300))})
    assert len(figures_by(numbered, "subject")) == 20


def test_metadata_do_not_hide_the_predictions() -> None:
    predictions = replace(made(0.8), metadata={"prediction": ("mine",) * 300, "posterior_fear": ("x",) * 300})
    for columns in (predictions.columns(), predictions.arrays()):
        assert set(columns["prediction"]) <= set(EMOTIONS)
        assert columns["metadata_prediction"][0] == "mine"
        assert columns["metadata_posterior_fear"][0] == "x"


def test_better_bundle_is_better_in_nearly_all_resamples() -> None:
    good, bad = made(0.9), made(0.6)
    compared = compare(good, bad)
    difference, low, high = compared["accuracy"]["difference"]
    assert 0 < low < difference < high
    assert compared["accuracy"]["resamples_better"] > 0.99
    assert compared["balanced_accuracy"]["one"] == pytest.approx(figures(good)["balanced_accuracy"][0])
    assert compare(good, good)["accuracy"]["difference"] == [0, 0, 0]


def test_faces_are_paired_by_photograph_and_emotions_by_name() -> None:
    one, other = made(0.9), made(0.9)
    back = np.arange(len(one.paths))[::-1][:200]
    order = [2, 0, 1]
    moved = replace(
        other,
        emotions=tuple(EMOTIONS[column] for column in order),
        paths=tuple(other.paths[row] for row in back),
        labels=np.array([order.index(label) for label in other.labels[back]]),
        posteriors=other.posteriors[back][:, order],
    )
    compared = compare(one, moved)
    assert compared["faces"] == 200
    assert compared["accuracy"]["difference"] == [0, 0, 0]
    with pytest.raises(DatasetError, match="same emotions"):
        compare(one, replace(other, emotions=("neutral", "happiness", "fear")))
    with pytest.raises(DatasetError, match="in common"):
        compare(one, replace(other, paths=tuple(f"other/{path}" for path in other.paths)))


class TestCommand:
    @pytest.fixture
    def table(self, tmp_path: Path, make_faces: MakeFaces) -> Path:
        faces = make_faces(24)
        lines = ["path;emotion;subject;camera"]
        for row, crop in enumerate(faces.images):
            Image.fromarray(crop).save(tmp_path / f"{row}.png")
            label = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")[row % 8]
            lines.append(f"{row}.png;{label};p{row % 5};{'ab'[row % 2]}")
        (tmp_path / "faces.csv").write_text("\n".join(lines) + "\n")
        return tmp_path / "faces.csv"

    def run(self, table: Path, small_run: SmallRun, *options: str) -> int:
        common = ["--bundle", str(small_run.bundle), "--already-cropped", "--output", str(table.parent / "out")]
        return main(["evaluate", "--faces", str(table), *common, *options])

    def test_predictions_groups_and_comparison_are_written(
        self, table: Path, small_run: SmallRun, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = table.parent / "out"
        file = table.parent / "predictions.csv"
        options = ["--predictions", str(file), "--by", "camera", "--by", "subject", "--against", str(small_run.bundle)]
        assert self.run(table, small_run, *options) == 0
        scores = json.loads((out / "scores.json").read_text())
        assert [each["group"] for each in scores["by"]["camera"]] == ["a", "b"]
        assert len(scores["by"]["subject"]) == 5
        assert scores["against"]["accuracy"]["difference"] == [0, 0, 0]
        assert (out / "confusion.png").is_file()
        rows = list(csv.DictReader(file.read_text().splitlines()))
        assert [row["path"] for row in rows] == [str(table.parent / f"{row}.png") for row in range(24)]
        assert sum(row["label"] == row["prediction"] for row in rows) / 24 == scores["figures"]["accuracy"][0]
        assert {"metadata_camera", "subject", "posterior_fear", "embedding_0", "typicality"} <= set(rows[0])
        assert "balanced accuracy" in capsys.readouterr().out

    def test_archive_has_whole_arrays(self, table: Path, small_run: SmallRun) -> None:
        file = table.parent / "predictions.npz"
        assert self.run(table, small_run, "--predictions", str(file)) == 0
        with np.load(file) as arrays:
            assert arrays["posteriors"].shape == (24, 8)
            assert arrays["embeddings"].shape[0] == 24
            assert arrays["emotions"][arrays["posteriors"].argmax(axis=1)].tolist() == arrays["prediction"].tolist()

    def test_parquet(self, table: Path, small_run: SmallRun) -> None:
        parquet = pytest.importorskip("pyarrow.parquet")
        file = table.parent / "predictions.parquet"
        assert self.run(table, small_run, "--predictions", str(file)) == 0
        read = parquet.read_table(file)
        assert read.num_rows == 24
        assert {"label", "prediction", "metadata_camera", "embedding_0"} <= set(read.column_names)

    def test_set_of_one_emotion_is_not_said_to_be_named_correctly(
        self, table: Path, small_run: SmallRun, capsys: pytest.CaptureFixture[str]
    ) -> None:
        heading, *lines = table.read_text().splitlines()
        table.write_text("\n".join([heading, *lines[::8]]) + "\n")
        assert self.run(table, small_run) == 0
        said = capsys.readouterr()
        assert "the set's emotions" not in said.out
        assert "every photograph is labelled neutral: its recall is all that this set can say" in said.err

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--predictions", "p.xlsx"], "expected a file that ends in .csv, .parquet or .npz, got p.xlsx"),
            (["--predictions", "nowhere/p.csv"], "expected an existing folder"),
            (["--by", "gender"], "--by: expected one of the columns camera, subject, got 'gender'"),
            (["--against", "nowhere"], "is not a bundle"),
        ],
    )
    def test_bad_options_write_nothing(
        self,
        table: Path,
        small_run: SmallRun,
        capsys: pytest.CaptureFixture[str],
        options: list[str],
        message: str,
    ) -> None:
        assert self.run(table, small_run, *options) != 0
        assert message in " ".join(capsys.readouterr().err.split())
        assert not (table.parent / "out" / "scores.json").exists()

    def test_options_of_data_sets_need_one(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["evaluate", "--data", str(tmp_path), "--output", str(tmp_path / "out"), "--by", "age"]) != 0
        assert "--predictions, --by and --against go with --dataset" in " ".join(capsys.readouterr().err.split())
