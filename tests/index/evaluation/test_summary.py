from typing import Any

from mien.index.evaluation.summary import headline


def some_scores() -> dict[str, Any]:
    retrieval = {f"recall_at_{k}": 0.8 for k in (1, 2, 4, 8)} | {"precision_at_10": 0.7}
    return {
        "majority": {
            "nearest_centroid": {"accuracy": 0.9, "recall_per_class": {"fear": 0.5, "contempt": None}},
            "calibration": {"expected_calibration_error": 0.02},
        },
        "argmax": {"nearest_centroid": {"accuracy": 0.85}},
        "clustering": {"normalised_mutual_information": 0.6},
        "retrieval_leave_one_out": retrieval,
        "retrieval_from_training": retrieval,
        "rejection": {
            "auroc": 0.97,
            "auroc_unseen": None,
            "outliers_rejected": 0.98,
            "kinds": {"noise": {"auroc": 1.0}},
        },
        "intervals": {"majority.nearest_centroid.accuracy": [0.88, 0.92], "rejection.kinds.noise.auroc": [0.99, 1.0]},
    }


def test_figures_have_their_intervals() -> None:
    figures = {name: (value, interval) for name, value, interval in headline(some_scores())}
    assert figures["accuracy, nearest centroid"] == (0.9, (0.88, 0.92))
    assert figures["accuracy, nearest centroid, argmax protocol"] == (0.85, None)
    assert figures["recall, fear"] == (0.5, None)
    assert figures["AUROC, faces against noise"] == (1.0, (0.99, 1.0))
    assert figures["precision@10, from Training"] == (0.7, None)
    assert figures["calibration error, as served"] == (0.02, None)


def test_figures_that_the_scores_lack_are_left_out() -> None:
    names = [figure.name for figure in headline(some_scores())]
    assert "recall, contempt" not in names
    assert "calibration error, cross-fitted" not in names
    assert "AUROC, faces against the unseen kinds" not in names
    assert len(set(names)) == len(names)


def test_figures_of_older_manifests_are_read_by_their_former_names() -> None:
    scores = some_scores()
    scores["rejection"] = {"auroc": 0.97, "auroc_unrehearsed": 0.96, "non_faces_rejected": 0.98, "kinds": {}}
    scores["intervals"] = {"rejection.auroc_unrehearsed": [0.95, 0.97]}
    figures = {name: (value, interval) for name, value, interval in headline(scores)}
    assert figures["AUROC, faces against the unseen kinds"] == (0.96, (0.95, 0.97))
    assert figures["outliers rejected, mean of all kinds"] == (0.98, None)
