import numpy as np

from mien.index.evaluation.held_out import HeldOutFaces
from mien.index.evaluation.scores.sub_classes import describe, second_choices
from mien.index.fitting.discover import discovery_report
from mien.index.fitting.sub_classes import discover_sub_classes
from mien.index.mixture.mixture import fit_mixture
from mien.model.emotions import EMOTIONS, distribution
from tests.support.clouds import QUICK_DISCOVERY, two_sorts_of_happiness


def test_report_of_an_emotion_of_two_sorts() -> None:
    faces, _ = two_sorts_of_happiness()
    others, _ = two_sorts_of_happiness(seed=1)
    clear = faces.clear >= 0
    mixture = fit_mixture(faces.embeddings[clear], faces.clear[clear], EMOTIONS, 1.0)
    configs = (QUICK_DISCOVERY.model_copy(update={"seed": seed}) for seed in range(2))
    found, other = (discover_sub_classes(mixture, faces, config) for config in configs)
    known = others.clear >= 0
    held_out = HeldOutFaces(
        others.embeddings[known].astype(np.float32),
        others.clear[known],
        distribution(others.votes[known]),
        others.groups[known],
    )
    scores = discovery_report(mixture, faces, [found, other], held_out)
    assert scores["sub_classes"] == 9
    assert scores["agreement_between_seeds"] > 0.95
    assert scores["emotions"]["happiness"]["sub_classes"] == 2
    assert scores["emotions"]["anger"]["agreement_between_seeds"] is None
    on_held_out = scores["held_out"]
    assert on_held_out["faces"] == 108, "the clear faces of the one emotion that is split"
    assert on_held_out["log_likelihood_gain"] > 3 * on_held_out["log_likelihood_gain_error"] > 0
    assert on_held_out["vote_forecast_error_sub_class"] < 0.1 * on_held_out["vote_forecast_error_emotion"]
    second = on_held_out["second_choice"]
    assert second["any_of_the_sub_class"] > second["any_of_the_emotion"] + 0.2

    described = describe(found.sub_classes)
    assert sum(each["gallery_faces"] for each in described) == len(faces.ids)
    assert {each["emotion"] for each in described} == set(EMOTIONS)


def test_second_choices_by_hand() -> None:
    shares = np.array([[0.6, 0.3, 0.1], [1.0, 0.0, 0.0], [0.2, 0.5, 0.3]])
    assert second_choices(shares, 0).tolist() == [1, -1, 1]
