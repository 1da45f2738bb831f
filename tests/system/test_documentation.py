"""The documents agree with the bundle that ships, with the settings, the errors and the files."""

import re
from pathlib import Path
from typing import Any

import pytest

from mien.index.bundle.bundle import load_bundle
from mien.index.bundle.default import default_bundle
from mien.index.bundle.manifest import EMBEDDER, read_manifest
from mien.index.evaluation.summary import markdown
from mien.index.fitting.naming import read_names
from mien.service.operation.metrics import Metrics
from mien.service.routes.problems import ANSWERS
from mien.service.settings import PREFIX, Settings
from tests.support.data import ROOT

DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


@pytest.fixture(scope="module")
def scores() -> dict[str, Any]:
    found = read_manifest(default_bundle()).scores
    assert found is not None
    return found


def test_the_model_card_has_every_score(scores: dict[str, Any]) -> None:
    assert markdown(scores) in (ROOT / "docs" / "model_card.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("document", ["README.md", "docs/model_card.md"])
@pytest.mark.parametrize(
    ("row", "path"),
    [
        ("accuracy, nearest centroid", "majority.nearest_centroid.accuracy"),
        ("macro recall, all eight emotions", "majority.nearest_centroid.macro_recall"),
        ("mAP, leave-one-out", "retrieval_leave_one_out.mean_average_precision"),
        ("recall@1, leave-one-out", "retrieval_leave_one_out.recall_at_1"),
        ("calibration error, cross-fitted", "majority.calibration_cross_fitted.expected_calibration_error"),
        ("typicality, AUROC", "rejection.auroc"),
    ],
)
def test_score_in_a_table_for_comparison_is_the_bundles(
    scores: dict[str, Any], document: str, row: str, path: str
) -> None:
    value: Any = scores
    for name in path.split("."):
        value = value[name]
    lines = (ROOT / document).read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if re.match(r"\| \| mien \|", line))
    table = lines[start : lines.index("", start)]
    found = [line for line in table if re.match(rf"\| {re.escape(row)}\b", line)]
    if document == "README.md":
        assert found, f"{document} lacks the row {row!r}"
    for line in found:
        first = re.search(r"\d\.\d+", line.split("|")[2])
        assert first is not None
        assert first.group() == f"{value:.3f}"


def test_table_of_names_is_that_of_the_sub_classes(tmp_path: Path) -> None:
    """Otherwise: mien name --bundle index/default_bundle --names docs/sub_class_names.csv."""
    sub_classes = load_bundle(default_bundle()).sub_classes
    assert sub_classes is not None
    named = read_names(ROOT / "docs" / "sub_class_names.csv", sub_classes)
    assert named.names == sub_classes.names
    assert [each.description for each in named.each] == [each.description for each in sub_classes.each]


def test_figures_on_groups_are_of_the_network_that_ships() -> None:
    """Otherwise: mien groups london-faces --markdown docs/groups.md."""
    sha256 = read_manifest(default_bundle()).sha256[EMBEDDER]
    assert f"`{sha256[:12]}`" in (ROOT / "docs" / "groups.md").read_text(encoding="utf-8")


def anchors(document: Path) -> set[str]:
    """The anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_to_files_and_headings(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\((?!https?:|mailto:)([^)#\s]*)#?([^)\s]*)\)", text):
        path = document.parent / target if target else document
        assert path.exists(), f"{document.name} points to {target}, which is not there"
        assert not anchor or anchor in anchors(path), f"{document.name} points to {target}#{anchor}"


PATH = re.compile(r"(?<![\w/.:@-])(?:model|index|service|mien|tests|benchmarks|docker|docs)/[\w./*-]*[\w*]")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_a_document_names_exist(document: Path) -> None:
    for name in PATH.findall(document.read_text(encoding="utf-8")):
        assert "NAME" in name or list(ROOT.glob(name)), f"{document.name} names {name}, which does not exist"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_modules_that_a_document_names_exist(document: Path) -> None:
    for name in re.findall(r"python -m ((?:mien|tests)[\w.]*)", document.read_text(encoding="utf-8")):
        path = ROOT / name.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), f"{document.name} names {name}"


def test_every_setting_has_a_row_with_its_default() -> None:
    rows = dict(
        re.findall(
            r"^\| `MIEN_(\w+)` \| (.+?) \|", (ROOT / "docs" / "settings.md").read_text(encoding="utf-8"), re.MULTILINE
        )
    )
    assert set(rows) == {name.upper() for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        shown = rows[name.upper()]
        if field.default_factory is not None or field.default is None:
            assert not shown.startswith("`"), f"{name} has no default value, the document shows {shown}"
        else:
            assert default_value(shown) == field.default, name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_settings_and_metrics_that_a_document_names_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert set(re.findall(rf"{PREFIX}\w+", text)) <= {PREFIX + name.upper() for name in Settings.model_fields}
    metrics = re.findall(r"^# TYPE (\w+)", Metrics().exposition().decode(), re.MULTILINE)
    assert set(re.findall(r"`(mien_\w+)", text)) <= set(metrics)


def test_table_of_limits_names_settings() -> None:
    """docs/serving.md leaves out their prefix."""
    text = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8").partition("## Limits")[2].partition("\n## ")[0]
    rows = [line.split(" | ")[1] for line in text.splitlines() if line.startswith("| ")][1:]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert len(named) > len(rows)
    assert named <= {name.upper() for name in Settings.model_fields}


def default_value(shown: str) -> object:
    """The value of a default as the table of settings writes it."""
    if found := re.fullmatch(r"(\d+) MiB", shown):
        return int(found[1]) * 2**20
    if found := re.fullmatch(r"(\d+) million", shown):
        return int(found[1]) * 10**6
    if found := re.fullmatch(r"(\d+)x(\d+)", shown):
        return int(found[1]) * int(found[2])
    text = shown.strip("`")
    if text in {"true", "false"}:
        return text == "true"
    return float(text) if re.fullmatch(r"[\d.]+", text) and text != "127.0.0.1" else text


def test_every_problem_has_a_row_with_its_status() -> None:
    text = (ROOT / "docs" / "answers.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in text.splitlines() if re.match(r"\| \d{3} \|", line)]
    documented = {(int(row[0].strip("| ")), kind) for row in rows for kind in re.findall(r"`([\w-]+)`", row[1])}
    assert {(int(status), kind) for status, kind in ANSWERS.values()} <= documented
