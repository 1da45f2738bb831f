"""What the documents say of the shipped bundle is what its manifest says."""

import re
from pathlib import Path
from typing import Any

import pytest

from mien.index.bundle.default import default_bundle
from mien.index.bundle.manifest import EMBEDDER, read_manifest
from mien.index.evaluation.summary import markdown
from tests.support.data import ROOT

DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


@pytest.fixture(scope="module")
def scores() -> dict[str, Any]:
    found = read_manifest(default_bundle()).scores
    assert found is not None
    return found


def test_the_model_card_has_every_score(scores: dict[str, Any]) -> None:
    assert markdown(scores) in (ROOT / "docs" / "model_card.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("row", "path"),
    [
        ("accuracy, nearest centroid", "majority.nearest_centroid.accuracy"),
        ("accuracy, 11 nearest neighbours in the gallery", "majority.nearest_neighbours.accuracy"),
        ("accuracy, nearest centroid, argmax protocol", "argmax.nearest_centroid.accuracy"),
        ("retrieval, leave-one-out: mAP", "retrieval_leave_one_out.mean_average_precision"),
        ("retrieval, leave-one-out: recall@1", "retrieval_leave_one_out.recall_at_1"),
        ("expected calibration error", "majority.calibration_cross_fitted.expected_calibration_error"),
        ("typicality, AUROC", "rejection.auroc"),
    ],
)
def test_the_scores_of_the_readme_are_those_of_the_bundle(scores: dict[str, Any], row: str, path: str) -> None:
    value: Any = scores
    for name in path.split("."):
        value = value[name]
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if re.match(rf"\| {re.escape(row)}\b", line))
    first = re.search(r"\d\.\d+", line.split("|")[2])
    assert first is not None
    assert first.group() == f"{value:.3f}"


def test_the_figures_on_groups_are_of_the_network_that_ships() -> None:
    """Otherwise: mien groups london-faces --markdown docs/groups.md."""
    sha256 = read_manifest(default_bundle()).sha256[EMBEDDER]
    assert f"`{sha256[:12]}`" in (ROOT / "docs" / "groups.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text):
        assert (document.parent / target).exists(), f"{document.name} points to {target}, which is not there"
