import numpy as np

from mien.index.evaluation.held_out import HeldOutFaces
from mien.index.evaluation.sub_classes import describe, second_choices, subclass_scores
from mien.index.fitting.discovery import discover
from mien.index.mixture.mixture import fit_mixture
from mien.model.emotions import EMOTIONS, distribution
from tests.index.fitting.test_discovery import QUICK, made_faces


def test_two_sorts_are_worth_telling_apart() -> None:
    faces, _ = made_faces()
    others, _ = made_faces(seed=1)
    clear = faces.clear >= 0
    mixture = fit_mixture(faces.embeddings[clear], faces.clear[clear], EMOTIONS, 1.0)
    found = discover(mixture, faces, QUICK)
    known = others.clear >= 0
    held_out = HeldOutFaces(
        others.embeddings[known].astype(np.float32),
        others.clear[known],
        distribution(others.votes[known]),
        others.groups[known],
    )
    scores = subclass_scores(mixture, faces, found, held_out, QUICK)
    assert scores["sub_classes"] == 9
    assert scores["agreement_between_seeds"] > 0.95
    assert scores["emotions"]["happiness"]["sub_classes"] == 2
    assert scores["emotions"]["anger"]["agreement_between_seeds"] is None
    seen = scores["held_out"]
    assert seen["faces"] == 108, "the clear faces of the one emotion that is split"
    assert seen["log_likelihood_gain"] > 3 * seen["log_likelihood_gain_error"] > 0
    assert seen["vote_forecast_error_sub_class"] < 0.1 * seen["vote_forecast_error_emotion"]
    second = seen["second_choice"]
    assert second["any_of_the_sub_class"] > second["any_of_the_emotion"] + 0.2

    described = describe(found.subclasses)
    assert sum(each["gallery_faces"] for each in described) == len(faces.ids)
    assert {each["emotion"] for each in described} == set(EMOTIONS)


def test_second_choices() -> None:
    shares = np.array([[0.6, 0.3, 0.1], [1.0, 0.0, 0.0], [0.2, 0.5, 0.3]])
    assert second_choices(shares, 0).tolist() == [1, -1, 1]
