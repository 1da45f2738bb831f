import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.index.bundle.bundle import load_bundle
from mien.index.bundle.default import default_bundle
from mien.index.bundle.manifest import read_manifest
from mien.model.embedder.embedder import Embedder
from mien.model.emotions import EMOTIONS
from mien.service.commands.gallery.main import ACTIONS
from mien.service.commands.main import COMMANDS, build_parser, main
from tests.support.faces import MakeFaces
from tests.support.small_run import SmallRun


@pytest.fixture
def pictures(tmp_path: Path, make_faces: MakeFaces) -> Path:
    """A folder with face crops, a file that is no image, a broken one, an empty one and a hidden one."""
    folder = tmp_path / "pictures"
    (folder / "b").mkdir(parents=True)
    for row, crop in enumerate(make_faces(5).images):
        Image.fromarray(crop).save(folder / ("b" if row % 2 else "") / f"{row}.png")
    (folder / "notes.txt").write_text("no picture")
    (folder / "b" / "broken.png").write_bytes((folder / "0.png").read_bytes()[:300])
    (folder / "empty.jpg").touch()
    (folder / ".hidden").write_text("not mine")
    return folder


@pytest.mark.system
def test_the_whole_way_by_commands(small_run: SmallRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Train, export, build, calibrate and evaluate, each by its command."""
    tiny = [
        "--network-widths",
        "4",
        "8",
        "--network-blocks",
        "1",
        "1",
        "--epochs",
        "1",
        "--batch-size",
        "32",
        "--device",
        "cpu",
    ]
    data = ["--data", str(small_run.data)]
    assert main(["train", *data, "--output", str(tmp_path / "run"), *tiny]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "run" / "checkpoint.pt")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"checkpoint.pt", "curves.csv", "curves.png"}
    network, bundle = tmp_path / "embedder.onnx", tmp_path / "bundle"
    checkpoint, mean = str(tmp_path / "run" / "checkpoint.pt"), str(tmp_path / "mean.pt")
    assert main(["average", checkpoint, checkpoint, "--output", mean]) == 0
    assert main(["export", mean, "--output", str(network)]) == 0
    assert Embedder(network).metadata.checkpoints == 2
    assert main(["build", str(network), *data, "--output", str(bundle)]) == 0
    capsys.readouterr()
    assert main(["calibrate", "--bundle", str(bundle), *data]) == 0
    assert "expected calibration error" in capsys.readouterr().out
    assert load_bundle(bundle).mixture.calibration is not None
    found = ["--output", str(tmp_path / "sub-classes"), "--least-faces", "12", "--restarts", "1", "--halvings", "2"]
    assert main(["discover", "--bundle", str(bundle), *data, *found]) == 0
    assert "neutral/1" in capsys.readouterr().out
    sub_classes = load_bundle(bundle).sub_classes
    assert sub_classes is not None
    assert set(sub_classes.of_face) == {entry.id for entry in load_bundle(bundle).gallery.entries}
    assert {path.name for path in (tmp_path / "sub-classes").iterdir()} == {
        "assignments.csv",
        *(f"{emotion}.png" for emotion in EMOTIONS),
    }
    assert main(["discover", "--bundle", str(bundle), *data, *found, "--previous", str(small_run.bundle)]) == 1
    assert "has no sub-classes" in capsys.readouterr().err
    scores = tmp_path / "scores"
    assert main(["evaluate", "--bundle", str(bundle), *data, "--output", str(scores), "--record"]) == 0
    table = capsys.readouterr().out
    assert "accuracy, nearest centroid" in table
    assert "95 % interval" in table
    assert "calibration error, cross-fitted" in table
    assert (scores / "scores.json").is_file()
    manifest = read_manifest(bundle)
    assert manifest.scores is not None
    assert manifest.made_from["training"]["network"]["widths"] == [4, 8]

    assert main(["train", *data, "--output", str(tmp_path / "run"), *tiny]) == 1
    assert "resume" in capsys.readouterr().err


def test_embed_writes_one_row_per_face(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = pictures.parent / "out" / "faces.npz"
    assert main(["embed", str(pictures), "--already-cropped", "--output", str(output)]) == 0
    with np.load(output) as faces:
        assert faces["paths"].tolist() == [
            str(pictures / name) for name in ("0.png", "2.png", "4.png", "b/1.png", "b/3.png")
        ]
        assert faces["boxes"].tolist() == [[0, 0, 48, 48]] * 5
        assert faces["embeddings"].shape == (5, 64)
        assert faces["embeddings"].dtype == np.float32
        assert faces["posteriors"].shape == (5, 8)
        assert faces["posteriors"].dtype == np.float32
        assert faces["emotions"].tolist() == [EMOTIONS[row] for row in faces["posteriors"].argmax(axis=1)]
        mixture = load_bundle(default_bundle()).mixture
        np.testing.assert_allclose(faces["posteriors"], mixture.posterior(faces["embeddings"]), atol=1e-6)
    report = capsys.readouterr().err
    for name in ("notes.txt", "broken.png", "empty.jpg"):
        assert f"{name}: " in report
    assert ".hidden" not in report
    assert "5 faces of 5 files; 3 files left out" in report


def test_embed_of_photographs_without_faces_reports_them(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = pictures.parent / "faces.npz"
    Image.new("RGB", (100, 80)).save(pictures.parent / "blank.png")
    assert main(["embed", str(pictures.parent / "blank.png"), "--output", str(output)]) == 1
    assert "no face was found" in capsys.readouterr().err
    with np.load(output) as faces:
        assert faces["embeddings"].shape == (0, 64)
        assert faces["boxes"].shape == (0, 4)
        assert faces["posteriors"].shape == (0, 8)


def test_embed_goes_on_after_a_path_that_does_not_exist(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = pictures.parent / "exactly-this-name"
    paths = [str(pictures / "absent.png"), str(pictures / "0.png")]
    assert main(["embed", *paths, "--already-cropped", "--output", str(output)]) == 0
    assert "absent.png: No such file" in capsys.readouterr().err
    assert output.is_file()


def test_embed_follows_links_once_and_leaves_its_own_output_out(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").mkdir()
    (pictures / "0.png").rename(tmp_path / "linked" / "0.png")
    (pictures / "a").symlink_to(tmp_path / "linked")
    (pictures / "b" / "round").symlink_to(pictures)
    output = pictures / "faces.npz"
    for _ in range(2):
        assert main(["embed", str(pictures), "--already-cropped", "--output", str(output)]) == 0
        with np.load(output) as faces:
            names = [str(Path(path).relative_to(pictures)) for path in faces["paths"]]
        assert names == ["2.png", "4.png", "a/0.png", "b/1.png", "b/3.png"]


def test_embed_refuses_an_output_that_is_no_file_before_it_works(
    pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for output in (pictures, Path("/dev/null")):
        assert main(["embed", str(pictures), "--output", str(output)]) == 1
        assert "--output must be a file" in capsys.readouterr().err
    assert main(["embed", str(pictures), "--output", str(pictures / "2.png" / "x.npz")]) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_embed_takes_its_limits_from_its_options(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = pictures.parent / "faces.npz"
    assert main(["embed", str(pictures / "2.png"), "--output", str(output), "--max-pixels", "100"]) == 1
    assert "at most 100 pixels" in capsys.readouterr().err


def parsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of the sub-commands, by name."""
    sub_parsers = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return dict(sub_parsers.choices)


@pytest.mark.parametrize("words", [*([name] for name in COMMANDS), *(["gallery", name] for name in ACTIONS)])
def test_help_explains_every_option(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    parser = build_parser()
    with pytest.raises(SystemExit) as stop:
        parser.parse_args([*words, "--help"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: mien {' '.join(words)}")
    for word in words:
        parser = parsers(parser)[word]
    assert len(parser._actions) > 1
    for action in parser._actions:
        if not isinstance(action, argparse._SubParsersAction):
            assert action.help, f"{words} {action.option_strings} has no help"


@pytest.mark.parametrize(
    "wrong", [["sing"], ["serve", "--prot", "1"], ["serve", "--por", "1"], ["train", "--epoch", "3"], [], ["embed"]]
)
def test_misspelt_commands_and_options_are_errors(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(wrong)
    assert stop.value.code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve", "--bundle", "absent"], "absent is not a bundle"),
        (["serve", "--port", "99999"], "--port"),
        (["embed", "x.png", "--output", "y.npz", "--bundle", "absent"], "absent is not a bundle"),
        (["export", "absent.pt", "--output", "x.onnx"], "no checkpoint at absent.pt"),
        (["build", "x.onnx", "--data", "absent", "--output", "b"], "absent holds no FER+ Training split"),
        (["train", "--data", "absent", "--output", "r", "--sigma", "-1"], "--sigma"),
        (["train", "--data", "absent", "--output", "r", "--device", "tpu"], "tpu"),
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
    assert main(arguments) == 1
    errors = capsys.readouterr().err
    assert message in errors
    assert len(errors.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_command_is_installed() -> None:
    found = subprocess.run(
        [Path(sys.executable).parent / "mien", "--version"], capture_output=True, text=True, check=True
    )
    assert found.stdout.startswith("mien ")
