import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.index.bundle.bundle import load_bundle
from mien.index.evaluation import transfer
from mien.index.evaluation.scores.classification import classification_scores
from mien.index.evaluation.transfer import (
    EmbeddedPhotographs,
    Skip,
    embed_photographs,
    face_at,
    headline,
    save_skips,
    transfer_scores,
)
from mien.index.mixture.mixture import Mixture, fit_mixture
from mien.model.datasets.base import LabelledPhotographs
from mien.model.datasets.folders import read_folders
from mien.model.emotions import EMOTIONS
from mien.model.errors import DatasetError
from mien.model.faces.box import Box
from mien.model.faces.reader import Face
from mien.model.pipeline import Pipeline, load_pipeline
from mien.service.commands.main import main
from tests.support.cartoon import cartoon
from tests.support.faces import MakeFaces
from tests.support.small_run import SmallRun


@pytest.fixture(scope="module")
def pipeline(small_run: SmallRun) -> Pipeline:
    return load_pipeline(load_bundle(small_run.bundle).embedder_path, provider="cpu")


@pytest.fixture(scope="module")
def mixture() -> Mixture:
    """Eight emotions on a line, ten units apart: neutral at 0, happiness at 10, ..., contempt at 70."""
    generator = np.random.default_rng(0)
    labels = np.arange(8).repeat(50)
    points = np.zeros((400, 2))
    points[:, 0] = 10 * labels
    return fit_mixture(points + generator.normal(0, 0.01, points.shape), labels, EMOTIONS, sigma=0.5)


def made_set(
    labels: list[int], subjects: tuple[str, ...] | None = None, boxes: tuple[Box | None, ...] | None = None
) -> LabelledPhotographs:
    paths = tuple(Path(f"{row}.png") for row in range(len(labels)))
    return LabelledPhotographs(
        "made", paths, np.array(labels), subjects, cropped=False, boxes=boxes, left_out={"bored": 2}
    )


def at(places: list[float], rows: list[int] | None = None, skipped: tuple[Skip, ...] = ()) -> EmbeddedPhotographs:
    """Embeddings on the line of the mixture."""
    points = np.array([[place, 0.0] for place in places], dtype=np.float32)
    return EmbeddedPhotographs(np.array(range(len(places)) if rows is None else rows), points, skipped)


def write_crops(folder: Path, make_faces: MakeFaces, count: int, emotions: tuple[str, ...] = EMOTIONS) -> Path:
    """Face crops in a folder per emotion; ``make_faces`` makes the emotions in turn."""
    for row, crop in enumerate(make_faces(count, seed=5).images):
        emotion = EMOTIONS[row % len(EMOTIONS)]
        if emotion in emotions:
            (folder / emotion).mkdir(parents=True, exist_ok=True)
            Image.fromarray(crop).save(folder / emotion / f"{row:03d}.png")
    return folder


def test_accuracy_over_all_emotions_and_over_those_of_the_set(mixture: Mixture) -> None:
    """Happiness and fear alone: a face of happiness between neutral and happiness is lost among all eight."""
    photographs = made_set([1, 1, 6, 6])
    scores = transfer_scores(mixture, photographs, at([10.0, 4.0, 61.0, 69.0]))
    assert scores["emotions"] == ["happiness", "fear"]
    assert scores["emotions_lacking"] == ["neutral", "surprise", "sadness", "anger", "disgust", "contempt"]
    assert scores["left_out"] == {"bored": 2}
    every, own = scores["all_emotions"], scores["own_emotions"]
    assert (every["accuracy"], own["accuracy"]) == (0.5, 1.0)
    assert every["recall_per_class"]["happiness"] == every["recall_per_class"]["fear"] == 0.5
    assert every["recall_per_class"]["neutral"] is None
    assert every["confusion"][1] == [1, 1, 0, 0, 0, 0, 0, 0]
    assert every["confusion"][6] == [0, 0, 0, 0, 0, 0, 1, 1]
    assert own["confusion"][1] == [0, 2, 0, 0, 0, 0, 0, 0]
    assert scores["subjects"] is None
    assert json.loads(json.dumps(scores)) == scores


def test_recall_of_the_emotions_with_many_photographs(mixture: Mixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "FREQUENT_PHOTOGRAPHS", 1)
    scores = transfer_scores(mixture, made_set([1, 1, 2, 6, 6]), at([10.0, 0.0, 0.0, 61.0, 69.0]))
    assert scores["frequent_emotions"] == ["happiness", "fear"]
    assert scores["all_emotions"]["recall_of_frequent"] == 0.5
    assert scores["all_emotions"]["macro_recall"] == pytest.approx(1 / 3)


def test_own_emotions_of_a_face_far_from_all_of_them(mixture: Mixture) -> None:
    """The posterior of both has underflowed to 0."""
    scores = transfer_scores(mixture, made_set([0, 1]), at([-500.0, 500.0]))
    assert scores["own_emotions"]["accuracy"] == 1.0


def test_mixture_with_another_order_of_emotions(mixture: Mixture) -> None:
    turned = Mixture(
        mixture.emotions[::-1],
        mixture.centroids[::-1],
        mixture.covariances[::-1],
        mixture.weights[::-1],
        mixture.sigma,
        mixture.typical,
    )
    photographs, embedded = made_set([1, 2, 6]), at([11.0, 19.0, 40.0])
    assert transfer_scores(turned, photographs, embedded) == transfer_scores(mixture, photographs, embedded)


def test_retrieval_leaves_out_the_subject_of_the_query(mixture: Mixture) -> None:
    """Subject A has two like faces of happiness; B's is farther than C's face of fear."""
    places, labels = [10.0, 10.5, 14.0, 12.0, 90.0], [1, 1, 1, 6, 6]
    free = transfer_scores(mixture, made_set(labels), at(places))["retrieval_leave_one_out"]
    # Ranks of relevant faces: 10.0 -> 1, 3; 10.5 -> 1, 3; 14.0 -> 2, 3; 12.0 -> 4; 90.0 -> 2.
    precisions = [(1 + 2 / 3) / 2, (1 + 2 / 3) / 2, (1 / 2 + 2 / 3) / 2, 1 / 4, 1 / 2]
    assert free["mean_average_precision"] == pytest.approx(np.mean(precisions))
    assert free["recall_at_1"] == pytest.approx(2 / 5)

    subjects = ("A", "A", "B", "C", "D")
    scores = transfer_scores(mixture, made_set(labels, subjects), at(places))
    other = scores["retrieval_leave_one_out"]
    # Without the subject's other face: 10.0 -> 2; 10.5 -> 2; the rest as before.
    precisions = [1 / 2, 1 / 2, (1 / 2 + 2 / 3) / 2, 1 / 4, 1 / 2]
    assert other["mean_average_precision"] == pytest.approx(np.mean(precisions))
    assert other["recall_at_1"] == 0
    assert scores["subjects"] == 4


def test_identity_leakage_is_scored_where_people_show_two_expressions(mixture: Mixture) -> None:
    places, labels = [10.0, 60.0, 14.0, 90.0], [1, 6, 1, 6]
    scores = transfer_scores(mixture, made_set(labels, ("A", "A", "B", "B")), at(places))
    assert scores["identity_leakage"]["people"] == 2
    assert scores["identity_leakage"]["recall_at_1"] == 0.5  # A's fear is the nearer to both faces of happiness
    assert dict(headline(scores))["identity leakage, recall@1"] == "0.5000"
    for subjects in (None, ("A", "B", "C", "D")):
        scores = transfer_scores(mixture, made_set(labels, subjects), at(places))
        assert scores["identity_leakage"] is None
        assert "identity leakage, recall@1" not in dict(headline(scores))


def test_skipped_photographs_are_not_scored(mixture: Mixture) -> None:
    skips = (Skip(Path("1.png"), "no face found", "x"), Skip(Path("3.png"), "no face found", "y"))
    photographs = made_set([0, 3, 1, 3, 1], subjects=("A", "B", "C", "D", "E"))
    scores = transfer_scores(mixture, photographs, at([0.0, 10.0, 32.0], rows=[0, 2, 4], skipped=skips))
    assert scores["photographs"] == 5
    assert scores["scored"] == 3
    assert scores["skipped"] == {"no face found": 2}
    assert scores["emotions"] == ["neutral", "happiness", "sadness"]
    assert scores["all_emotions"]["accuracy"] == pytest.approx(2 / 3)
    assert scores["all_emotions"]["recall_per_class"]["sadness"] is None
    assert scores["own_emotions"]["confusion"][1][3] == 1  # sadness is an emotion of the set, though none was scored
    assert scores["retrieval_leave_one_out"]["queries"] == 2


def test_retrieval_without_relevant_faces_is_none(mixture: Mixture) -> None:
    scores = transfer_scores(mixture, made_set([1, 1], subjects=("A", "A")), at([10.0, 10.0]))
    assert scores["retrieval_leave_one_out"] is None
    assert "mAP, leave-one-out" not in dict(headline(scores))
    assert dict(headline(scores))["accuracy, nearest of all centroids"] == "1.0000"


def test_queries_are_drawn_from_a_large_set(mixture: Mixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mien.index.evaluation.transfer.MAX_QUERIES", 50)
    monkeypatch.setattr("mien.index.evaluation.scores.retrieval._CELLS_AT_ONCE", 1000)
    labels = [row % 8 for row in range(200)]
    progress: list[tuple[int, int]] = []
    scores = transfer_scores(
        mixture,
        made_set(labels),
        at([10.0 * label for label in labels]),
        on_progress=lambda done, total: progress.append((done, total)),
    )
    assert scores["retrieval_leave_one_out"]["queries"] == 50
    assert scores["retrieval_leave_one_out"]["mean_average_precision"] == pytest.approx(1)
    assert progress == [(done, 50) for done in range(5, 51, 5)]


def test_face_at_a_box() -> None:
    faces = [Face(box, 0.9, np.zeros((48, 48), np.uint8)) for box in ((0.0, 0.0, 90.0, 90.0), (100.0, 0.0, 40.0, 40.0))]
    assert face_at(faces, (95.0, 5.0, 40.0, 40.0)) is faces[1]
    assert face_at(faces, (10.0, 10.0, 90.0, 90.0)) is faces[0]
    assert face_at(faces, (100.0, 0.0, 20.0, 20.0)) is faces[1]  # exactly a quarter
    assert face_at(faces, (100.0, 0.0, 20.0, 19.0)) is None
    assert face_at(faces, (300.0, 300.0, 40.0, 40.0)) is None
    assert face_at([], (0.0, 0.0, 1.0, 1.0)) is None


def test_photographs_are_processed_as_uploads_are(pipeline: Pipeline, tmp_path: Path) -> None:
    """A large and a small drawn face: the largest, unless the data set's box is at the other."""
    sheet = np.full((400, 700, 3), 127, dtype=np.uint8)
    sheet[40:360, 20:340] = cartoon(320)
    sheet[100:260, 450:610] = cartoon(160)
    for name, image in (("sheet.png", sheet), ("blank.png", np.full((200, 300, 3), 90, np.uint8))):
        Image.fromarray(image).save(tmp_path / name)
    (tmp_path / "broken.png").write_bytes((tmp_path / "sheet.png").read_bytes()[:400])
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    names = ("sheet.png", "blank.png", "sheet.png", "broken.png", "sheet.png", "empty.png", "absent.png", "folder.png")
    small, elsewhere = (480.0, 130.0, 100.0, 110.0), (0.0, 380.0, 20.0, 20.0)
    boxes = (None, None, small, None, elsewhere, None, None, None)
    photographs = LabelledPhotographs(
        "drawn", tuple(tmp_path / name for name in names), np.zeros(8, np.int64), None, False, boxes, {}
    )
    done: list[int] = []
    embedded = embed_photographs(pipeline, photographs, on_progress=done.append)
    assert done == [8]
    assert embedded.rows.tolist() == [0, 2]
    large_face, small_face = pipeline.embed(pipeline.read_faces((tmp_path / "sheet.png").read_bytes()))
    np.testing.assert_allclose(embedded.embeddings, [large_face, small_face], atol=1e-4)
    assert np.abs(large_face - small_face).max() > 1e-3
    kinds = ["no face found", "unreadable", "no face in the data set's box", "unreadable", "unreadable", "unreadable"]
    assert [skip.kind for skip in embedded.skipped] == kinds
    assert [skip.path.name for skip in embedded.skipped] == [names[row] for row in (1, 3, 4, 5, 6, 7)]
    reasons = [skip.reason for skip in embedded.skipped]
    assert "no face was found in the image of 300x200 pixels" in reasons[0]
    assert "cut off or damaged" in reasons[1]
    assert "none of 2 faces overlaps the box (0.0, 380.0" in reasons[2]
    assert reasons[4] == "No such file or directory"


def test_crops_are_used_whole_and_batches_keep_their_order(
    pipeline: Pipeline, make_faces: MakeFaces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mien.index.evaluation.transfer._FILES_AT_ONCE", 3)
    crops = make_faces(8).images
    for row, crop in enumerate(crops):
        Image.fromarray(crop).save(tmp_path / f"{row}.png")
    (tmp_path / "4.png").write_bytes(b"no image")
    photographs = LabelledPhotographs(
        "crops", tuple(tmp_path / f"{row}.png" for row in range(8)), np.arange(8), None, True, None, {}
    )
    done: list[int] = []
    embedded = embed_photographs(pipeline, photographs, on_progress=done.append)
    assert done == [3, 3, 2]
    assert embedded.rows.tolist() == [0, 1, 2, 3, 5, 6, 7]
    np.testing.assert_allclose(embedded.embeddings, pipeline.embedder.embed(crops[embedded.rows]), atol=1e-4)


def test_set_without_a_face_is_refused(pipeline: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    photographs = LabelledPhotographs("empty", (tmp_path / "a.png",), np.zeros(1, np.int64), None, False, None, {})
    with pytest.raises(DatasetError, match=r"empty: expected photographs with a face, got none among 1; .*a\.png: "):
        embed_photographs(pipeline, photographs)


def test_table_of_skips_is_written_even_if_empty(tmp_path: Path) -> None:
    path = save_skips(tmp_path, [Skip(Path("a,b.png"), "unreadable", 'said "no"')])
    with path.open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["path", "kind", "reason"], ["a,b.png", "unreadable", 'said "no"']]
    assert save_skips(tmp_path, []).read_text() == "path,kind,reason\n"


def test_command_scores_a_data_set(
    small_run: SmallRun, pipeline: Pipeline, make_faces: MakeFaces, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Crops of three emotions in folders, one of them broken, and a label that FER+ lacks."""
    root = write_crops(tmp_path / "crops", make_faces, 80, ("neutral", "surprise", "fear"))
    (root / "sleepy").mkdir()
    (root / "sleepy" / "1.png").touch()
    (root / "neutral" / "broken.png").write_bytes((root / "neutral" / "000.png").read_bytes()[:200])
    output = tmp_path / "out"
    command = ["evaluate", "--bundle", str(small_run.bundle), "--dataset", "folders", str(root), "--already-cropped"]
    assert main([*command, "--output", str(output)]) == 0

    scores = json.loads((output / "scores.json").read_text())
    assert scores["photographs"] == 31
    assert scores["scored"] == 30
    assert scores["skipped"] == {"unreadable": 1}
    assert scores["left_out"] == {"sleepy": 1}
    assert scores["already_cropped"]
    assert scores["emotions_lacking"] == ["happiness", "sadness", "anger", "disgust", "contempt"]

    faces = make_faces(80, seed=5).images
    photographs = read_folders(root)
    rows = [row for row, path in enumerate(photographs.paths) if path.stem != "broken"]
    crops = faces[[int(photographs.paths[row].stem) for row in rows]]
    nearest = load_bundle(small_run.bundle).mixture.distances(pipeline.embedder.embed(crops)).argmin(axis=1)
    expected = classification_scores(photographs.labels[rows], nearest, EMOTIONS)
    assert scores["all_emotions"]["accuracy"] == pytest.approx(expected["accuracy"])
    assert scores["all_emotions"]["confusion"] == expected["confusion"]
    assert expected["accuracy"] > 0.5  # the patterns are easy, and the network was trained on them
    assert scores["own_emotions"]["accuracy"] >= expected["accuracy"]

    printed = capsys.readouterr()
    shown = " ".join(printed.out.split())
    for text in ("accuracy, nearest of all", "mAP, leave-one-out", "left out: sleepy", "skipped: unreadable"):
        assert text in shown
    assert "broken.png: expected a whole image" in printed.err
    assert len((output / "skipped.csv").read_text().splitlines()) == 2


SETS = {
    "affectnet": ("Manually_Annotated_Images/1/a.jpg", "Manually_Annotated_Images/1/b.jpg"),
    "ck+": ("cohn-kanade-images/S005/001/S005_001_00000001.png", "cohn-kanade-images/S005/001/S005_001_00000002.png"),
    "bu-3dfe": ("F0001/F0001_NE00WH_F2D.bmp", "F0002/F0002_AN01WH_F2D.bmp"),
    "jaffe": ("KA.NE1.26.tiff", "KL.AN1.167.tiff"),
    "raf-db": ("Image/original/train_00001.jpg", "Image/original/test_0001.jpg"),
}
"""A neutral and an angry photograph of each data set, in its layout."""

LABELS = {
    "validation.csv": (
        "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal\n"
        "1/a.jpg,60,50,140,170,1;2,0,0,0\n1/b.jpg,60,50,140,170,1;2,6,0,0\n"
    ),
    "Emotion/S005/001/S005_001_00000002_emotion.txt": "   1.0000000e+00\n",
    "EmoLabel/list_patition_label.txt": "train_00001.jpg 7\ntest_0001.jpg 6\n",
    "Annotation/boundingbox/train_00001_boundingbox.txt": "60 50 200 220",
    "Annotation/boundingbox/test_0001_boundingbox.txt": "60 50 200 220",
}


@pytest.mark.parametrize("name", SETS)
def test_every_kind_of_data_set_is_scored(name: str, small_run: SmallRun, tmp_path: Path) -> None:
    """Drawn faces in the layout of the data set, with its label files."""
    for path, text in LABELS.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    for path in SETS[name]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(cartoon(256)).convert("L").save(tmp_path / path)
    command = ["evaluate", "--bundle", str(small_run.bundle), "--dataset", name, str(tmp_path)]
    assert main([*command, "--output", str(tmp_path / "out")]) == 0
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["scored"] == scores["photographs"] == 2
    assert scores["skipped"] == {}
    assert scores["emotions"] == ["neutral", "anger"]
    assert scores["own_emotions"]["accuracy"] == 0.5  # one picture under two labels


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "folders", "absent"], "expected the data set folders in the folder absent, found nothing there"),
        (["--dataset", "fer", "."], "expected one of the data sets affectnet"),
        (["--dataset", "jaffe", ".", "--split", "test"], "JAFFE has the splits all, got 'test'"),
        (["--dataset", "jaffe", ".", "--record"], "--record keeps the scores on FER+"),
        (["--dataset", "jaffe", ".", "--world", "."], "--world and --studio go with --data"),
        (["--data", ".", "--already-cropped"], "--already-cropped is for --dataset"),
        (["--data", ".", "--split", "Test"], "--split: expected one of Training, PublicTest, PrivateTest, got 'Test'"),
    ],
)
def test_errors_are_one_sentence(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", *arguments, "--output", "scores"]) == 1
    errors = capsys.readouterr().err
    assert message in errors
    assert len(errors.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_london_photographs_are_scored(london_root: Path, tmp_path: Path) -> None:
    """The shipped bundle on a few photographs whose people are known."""
    with (london_root / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["subject"] in ("001", "006", "011", "017")]
    table = tmp_path / "few.csv"
    lines = [f"{london_root / row['image']},{row['subject']},{row['label']}" for row in rows]
    table.write_text("\n".join(["image,subject,label", *lines]))
    assert main(["evaluate", "--dataset", "csv", str(table), "--output", str(tmp_path / "out")]) == 0
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["scored"] == 8
    assert scores["subjects"] == 4
    assert scores["emotions"] == ["neutral", "happiness"]
    assert scores["all_emotions"]["accuracy"] >= 0.75
