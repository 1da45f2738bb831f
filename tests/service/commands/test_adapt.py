import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from mien.index.bundle.bundle import load_bundle
from mien.index.gallery.face import GalleryFace
from mien.model.emotions import EMOTIONS
from mien.service.app import create_app
from mien.service.commands.main import main
from mien.service.inference.engine import Engine, load_engine
from mien.service.settings import Settings
from tests.support.answers import CROPPED
from tests.support.drawn_expressions import draw_expression, write_expressions
from tests.support.engines import gallery_engine
from tests.support.images import encode
from tests.support.small_run import SmallRun


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("adapt")


@pytest.fixture(scope="module")
def adapted(folder: Path, served_engine: Engine) -> Path:
    """The shipped bundle with wink, out of twelve drawn faces."""
    photographs = write_expressions(folder / "photographs", {"wink": 12})
    command = ["adapt", str(photographs), "--new", "wink", "--already-cropped", "--output", str(folder / "bundle")]
    assert main([*command, "--report", str(folder / "report.json")]) == 0
    return folder / "bundle"


@pytest.fixture(scope="module")
def client(adapted: Path, folder: Path, served_engine: Engine) -> Iterator[TestClient]:
    """A service on the adapted bundle, and on a gallery that was made with the shipped one."""
    points = served_engine.bundle.gallery.embeddings[:20]
    with gallery_engine(served_engine, folder / "gallery") as engine:
        engine.gallery.add([GalleryFace(f"f{row}", point, emotion="fear") for row, point in enumerate(points)])
    settings = Settings(provider="cpu", bundle=adapted, gallery=str(folder / "gallery"), rate_per_s=0)
    engine = load_engine(settings)
    with TestClient(create_app(engine, settings)) as client:
        yield client
    engine.gallery.close()


def test_report_is_printed_and_written(adapted: Path, folder: Path) -> None:
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert load_bundle(adapted).manifest.adaptation == report
    assert report["figures"]["recall, wink"]["after"] > 0.9
    assert report["known"]["after"] > report["known"]["before"]


def test_service_answers_with_the_new_emotion(client: TestClient) -> None:
    crop = encode(draw_expression("wink", 1, seed=5)[0])
    (face,) = client.post("/classify", params=CROPPED, files={"image": crop}).json()["faces"]
    assert (face["emotion"], face["known"]) == ("wink", True)
    assert face["sub_class"] == "wink/1"
    assert tuple(face["posterior"]) == (*EMOTIONS, "wink")
    answer = client.post("/retrieve", json={"query": {"emotion": "wink"}, "k": 3}).json()
    assert len(answer["matches"]) == 3
    assert client.get("/info").json()["emotions"][-1] == "wink"
    assert client.get("/map").json()["emotions"][-1]["id"] == "wink"
    assert client.get("/atlas").json()["emotions"][-1]["id"] == "wink"
    assert client.get("/portrait", params={"emotion": "wink"}).headers["content-type"] == "image/png"
    assert client.get("/portrait", params={"sub_class": "wink/1"}).status_code == 200


def test_gallery_of_the_same_network_stays_usable(client: TestClient) -> None:
    assert client.get("/info").json()["gallery"] == {"faces": 20, "read_only": False, "keeps_thumbnails": False}
    crop = encode(draw_expression("wink", 1, seed=6)[0])
    added = client.post("/gallery", params=CROPPED, files={"image": crop})
    assert added.status_code == 201, added.text
    found = client.get("/gallery", params={"filter": json.dumps({"emotion": "wink"})}).json()
    assert found["count"] == 1


def test_page_has_colours_for_emotions_of_ones_own() -> None:
    folder = Path(__file__).parents[3] / "service" / "page"
    script, style = ((folder / name).read_text(encoding="utf-8") for name in ("emotions.js", "style.css"))
    assert "const OWN_COLOURS = 6;" in script
    for number in range(1, 7):
        assert style.count(f"--own-{number}:") == 3  # light, dark, and dark by the system's setting


def test_nothing_is_written_where_it_does_not_help(
    small_run: SmallRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_expressions(tmp_path / "photographs", dict.fromkeys(EMOTIONS, 4))
    out = tmp_path / "out"
    command = ["adapt", str(root), "--already-cropped", "--bundle", str(small_run.bundle), "--output", str(out)]
    assert main(command) == 1
    shown = capsys.readouterr()
    assert "recall, mean over" in shown.out
    assert "help" in shown.err
    assert "nothing is written" in shown.err
    assert not out.exists()
    assert main([*command, "--force"]) == 0
    assert load_bundle(out).mixture.emotions == EMOTIONS
    assert main(command[:-2]) == 0  # without an output, it only reports


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--force"], "--force needs --output"),
        (["--output", "photographs"], "holds something else than a bundle"),
        (["--new", "pain"], "got pain: there are none of it"),
    ],
)
def test_bad_input_is_said_in_a_sentence(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photographs = write_expressions(tmp_path / "photographs", {"fear": 2})
    options = [str(photographs) if each == "photographs" else each for each in options]
    assert main(["adapt", str(photographs), "--already-cropped", *options]) == 1
    assert message in " ".join(capsys.readouterr().err.split())
    assert [path.name for path in tmp_path.iterdir()] == ["photographs"]


def test_expression_of_one_person_is_said_to_be_one(
    small_run: SmallRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_expressions(tmp_path, {"wink": 6, "fear": 6})
    rows = [f"{label}/{n}.png,{label},{'me' if label == 'wink' else n}" for label in ("wink", "fear") for n in range(6)]
    (root / "labels.csv").write_text("\n".join(["image,label,subject", *rows]), encoding="utf-8")
    command = ["adapt", str(root), "--new", "wink", "--already-cropped", "--bundle", str(small_run.bundle)]
    assert main(command) == 0
    assert "wink is shown by one person" in " ".join(capsys.readouterr().err.split())


def test_adapted_bundle_is_calibrated_and_scored(
    small_run: SmallRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """FER+ has no faces of the new emotion, which takes no part in the means."""
    root, out = write_expressions(tmp_path / "photographs", {"wink": 8}), tmp_path / "bundle"
    command = ["adapt", str(root), "--new", "wink", "--already-cropped", "--bundle", str(small_run.bundle)]
    assert main([*command, "--output", str(out)]) == 0
    assert main(["calibrate", "--bundle", str(out), "--data", str(small_run.data)]) == 0
    data = ["--data", str(small_run.data), "--output", str(tmp_path / "scores")]
    assert main(["evaluate", "--bundle", str(out), *data, "--record"]) == 0
    scores = load_bundle(out).manifest.scores
    assert scores is not None
    assert scores["majority"]["nearest_centroid"]["recall_per_class"]["wink"] is None
    assert scores["majority"]["nearest_centroid"]["accuracy"] > 0.8
    assert main(["discover", "--bundle", str(out), *data]) == 1
    assert "wink has 0" in capsys.readouterr().err


def test_commands_of_the_guide_run(adapted: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guide = (Path(__file__).parents[3] / "docs" / "adapt.md").read_text(encoding="utf-8")
    commands = re.findall(r"^\$ mien (adapt photographs.*?)(?: +#.*)?$", guide, re.MULTILINE)
    assert len(commands) == 3
    monkeypatch.chdir(folder)
    write_expressions(folder / "photographs", {"happiness": 3})
    for command in commands:
        new = [] if "--new" in command else ["--new", "wink"]
        assert main([*command.split(), *new, "--already-cropped"]) == 0
    assert load_bundle(folder / "mine").mixture.emotions == (*EMOTIONS, "wink")


def test_studio_photographs_are_named_better(london_root: Path, tmp_path: Path) -> None:
    """Twenty people, neutral and smiling; each is named by centroids that were moved without that person."""
    assert main(["adapt", str(london_root), "--report", str(tmp_path / "report.json")]) == 0
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert (report["faces"], report["groups"], report["cross_validated_by"]) == (40, 20, "subject")
    accuracy = report["figures"]["accuracy"]
    assert accuracy["after"] >= accuracy["before"] + 0.05
    assert report["helps"]
    assert np.isfinite(accuracy["interval"]).all()
