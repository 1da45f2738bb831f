import csv
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.model.emotions import (
    EMOTIONS,
    UNLABELLED,
    VOTE_COLUMNS,
    Protocol,
    distribution,
    drop_single_votes,
    emotion_of,
    labels,
)


def ballots(**counts: int) -> NDArray[np.int64]:
    """(1, 10) votes by the names of the columns."""
    return np.array([[counts.get(column, 0) for column in VOTE_COLUMNS]], dtype=np.int64)


def majority_of(votes: NDArray[np.int64], protocol: Protocol = "majority") -> str | None:
    label = int(labels(votes, protocol)[0])
    return None if label == UNLABELLED else EMOTIONS[label]


def test_columns_are_in_ferplus_order() -> None:
    assert VOTE_COLUMNS == (
        "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF",
    )  # fmt: skip
    assert VOTE_COLUMNS[: len(EMOTIONS)] == EMOTIONS


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_each_emotion_can_win(emotion: str) -> None:
    assert majority_of(ballots(**{emotion: 10})) == emotion
    assert majority_of(ballots(**{emotion: 10}), "argmax") == emotion


def test_single_votes_are_dropped_and_others_stay() -> None:
    votes = ballots(neutral=1, happiness=2, fear=6, NF=1)
    assert drop_single_votes(votes).tolist() == ballots(happiness=2, fear=6).tolist()
    assert votes.tolist() == ballots(neutral=1, happiness=2, fear=6, NF=1).tolist()  # the argument is not changed


def test_single_votes_do_not_count_towards_the_total() -> None:
    # 4 of 10 are no majority; 4 of the 6 that remain are.
    assert majority_of(ballots(anger=4, neutral=2, sadness=1, fear=1, disgust=1, unknown=1)) == "anger"


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        (ballots(anger=5, sadness=5), None),
        (ballots(anger=4, sadness=2, fear=2), None),
        (ballots(anger=5, sadness=4), "anger"),
        (ballots(anger=5, sadness=2, fear=2), "anger"),
    ],
)
def test_exactly_half_is_no_majority(votes: NDArray[np.int64], expected: str | None) -> None:
    assert majority_of(votes) == expected


@pytest.mark.parametrize("protocol", ["majority", "argmax"])
@pytest.mark.parametrize("winner", ["unknown", "NF"])
def test_face_that_unknown_or_nf_wins_is_left_out(winner: str, protocol: Protocol) -> None:
    assert majority_of(ballots(**{winner: 7, "neutral": 3}), protocol) is None


def test_votes_for_unknown_count_towards_the_total() -> None:
    assert majority_of(ballots(neutral=5, unknown=5)) is None
    assert majority_of(ballots(neutral=5, unknown=3, NF=2)) is None


@pytest.mark.parametrize("protocol", ["majority", "argmax"])
def test_face_without_votes_is_left_out(protocol: Protocol) -> None:
    assert majority_of(ballots(), protocol) is None


def test_ten_single_votes_leave_nothing_to_a_majority() -> None:
    votes = np.ones((1, len(VOTE_COLUMNS)), dtype=np.int64)
    assert majority_of(votes) is None
    assert majority_of(votes, "argmax") == "neutral"


def test_argmax_takes_the_first_of_equals() -> None:
    assert majority_of(ballots(surprise=4, fear=4, neutral=2), "argmax") == "surprise"


def test_labels_of_no_faces_are_none() -> None:
    assert labels(np.zeros((0, len(VOTE_COLUMNS)), dtype=np.int64)).shape == (0,)


def test_distribution_is_the_shares_of_the_votes_for_emotions() -> None:
    shares = distribution(ballots(neutral=6, sadness=2, unknown=2))
    assert shares.dtype == np.float32
    np.testing.assert_allclose(shares, [[0.75, 0, 0, 0.25, 0, 0, 0, 0]])


def test_distribution_without_votes_for_emotions_is_zero() -> None:
    assert distribution(ballots(unknown=4, NF=6)).tolist() == [[0.0] * len(EMOTIONS)]


@pytest.mark.parametrize(("folder", "expected"), [("FER2013Train", 25_045), ("FER2013Valid", 3_191)])
def test_strict_majority_keeps_the_published_number_of_faces(ferplus_root: Path, folder: str, expected: int) -> None:
    with (ferplus_root / folder / "label.csv").open(newline="", encoding="utf-8") as file:
        votes = np.array([row[2:] for row in csv.reader(file)], dtype=np.int64)
    assert int((labels(votes) != UNLABELLED).sum()) == expected


def test_spellings_of_emotions() -> None:
    assert [emotion_of(emotion.upper()) for emotion in EMOTIONS] == list(EMOTIONS)
    spelt = ("Happy", "joy", "surprised", "sad", " Angry", "disgusted", "fearful", "afraid", "contemptuous", "Sleepy")
    meant = ("happiness",) * 2 + ("surprise", "sadness", "anger", "disgust", "fear", "fear", "contempt", "sleepy")
    assert tuple(map(emotion_of, spelt)) == meant
