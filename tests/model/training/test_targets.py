from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.model.datasets.ferplus import LabelledFaces
from mien.model.emotions import EMOTIONS, UNLABELLED, VOTE_COLUMNS
from mien.model.errors import DatasetError
from mien.model.training.config import TrainingConfig
from mien.model.training.targets import SubClassLabels, read_sub_classes, select_training_set


def ballots(*rows: dict[str, int]) -> LabelledFaces:
    votes = np.array([[row.get(column, 0) for column in VOTE_COLUMNS] for row in rows], dtype=np.int64)
    return LabelledFaces(tuple(map(str, range(len(rows)))), np.zeros((len(rows), 48, 48), np.uint8), votes)


def test_targets_are_the_votes_without_single_ones() -> None:
    faces = ballots({"neutral": 6, "sadness": 3, "fear": 1}, {"NF": 10}, {"anger": 1, "fear": 1, "contempt": 1})
    taken = select_training_set(faces, TrainingConfig(targets="votes", protocol="argmax"))
    assert taken.names == ("0", "2")
    assert taken.emotions.tolist() == [EMOTIONS.index("neutral"), EMOTIONS.index("anger")]
    third = pytest.approx(1 / 3)
    assert taken.targets.tolist() == [
        [pytest.approx(2 / 3), 0, 0, third, 0, 0, 0, 0],
        [0, 0, 0, 0, third, 0, third, third],
    ]


def test_second_opinion_counts_as_votes() -> None:
    faces = ballots({"neutral": 6, "sadness": 4}, {"neutral": 8, "fear": 1}, {"happiness": 10})
    opinions = np.array([EMOTIONS.index("sadness"), EMOTIONS.index("fear"), UNLABELLED])
    taken = select_training_set(replace(faces, opinions=opinions), TrainingConfig(second_opinion=4))
    assert [EMOTIONS[emotion] for emotion in taken.emotions] == ["sadness", "neutral", "happiness"]
    assert taken.targets[0, EMOTIONS.index("sadness")] == pytest.approx(8 / 14)
    assert taken.targets[1, EMOTIONS.index("fear")] == pytest.approx(5 / 13)  # a single vote no longer
    assert taken.targets[2, EMOTIONS.index("happiness")] == 1
    assert faces.votes[0].sum() == 10  # the argument is unchanged
    without = select_training_set(replace(faces, opinions=opinions), TrainingConfig())
    np.testing.assert_array_equal(without.targets, select_training_set(faces, TrainingConfig()).targets)


def test_every_nth_face_is_used() -> None:
    faces = ballots(*[{"fear": 10}, {"anger": 10}, {"unknown": 10}] * 2, {"happiness": 10})
    assert select_training_set(faces, TrainingConfig(every=3)).names == ("0", "3", "6")
    assert select_training_set(faces, TrainingConfig(every=2)).names == ("0", "4", "6")


@pytest.mark.parametrize("opinions", [None, np.array([UNLABELLED])])
def test_second_opinion_without_labels_is_refused(opinions: NDArray[np.int64] | None) -> None:
    faces = replace(ballots({"fear": 10}), opinions=opinions)
    with pytest.raises(DatasetError, match="second_opinion must be 0 for faces without FER2013's own labels, got 4"):
        select_training_set(faces, TrainingConfig(second_opinion=4))


def test_one_hot_targets_are_the_majority() -> None:
    faces = ballots({"neutral": 6, "sadness": 4}, {"neutral": 5, "sadness": 5}, {"contempt": 10})
    taken = select_training_set(faces, TrainingConfig(targets="one-hot", protocol="majority"))
    assert taken.names == ("0", "2")
    assert taken.emotions.tolist() == [0, 7]
    np.testing.assert_array_equal(taken.targets, np.eye(8)[[0, 7]])


def test_without_sub_classes_the_classes_are_the_emotions() -> None:
    taken = select_training_set(ballots({"fear": 10}, {"anger": 9}), TrainingConfig())
    np.testing.assert_array_equal(taken.classes, taken.emotions)
    assert taken.emotion_of is None
    assert taken.class_count == len(EMOTIONS)


def test_sub_classes_are_the_classes_and_emotions_stay_the_targets() -> None:
    faces = ballots({"happiness": 10}, {"happiness": 9, "neutral": 1}, {"neutral": 10}, {"fear": 10})
    given = SubClassLabels({"0": "happiness/2", "1": "happiness/1", "2": "neutral/1"}, "0" * 64)
    taken = select_training_set(faces, TrainingConfig(), given)
    assert taken.names == ("0", "1", "2")  # the face without a sub-class takes no part
    assert taken.class_count == 3
    assert taken.emotion_of is not None
    assert [EMOTIONS[taken.emotion_of[row]] for row in taken.classes] == ["happiness", "happiness", "neutral"]
    assert len(set(taken.classes.tolist())) == 3
    assert taken.targets.shape == (3, len(EMOTIONS))
    assert taken.targets[0, EMOTIONS.index("happiness")] == 1


def test_face_without_a_label_takes_part_with_its_inferred_sub_class() -> None:
    faces = ballots({"NF": 5, "fear": 3, "surprise": 2}, {"unknown": 10}, {"fear": 10})
    given = SubClassLabels({"0": "surprise/1", "1": "fear/1", "2": "fear/1"}, "0" * 64)
    taken = select_training_set(faces, TrainingConfig(), given)
    assert taken.names == ("0", "2")  # the second has no vote for an emotion, and so no target
    assert [EMOTIONS[emotion] for emotion in taken.emotions] == ["surprise", "fear"]
    assert taken.targets[0, EMOTIONS.index("fear")] == pytest.approx(0.6)


def test_sub_classes_of_other_faces_are_refused() -> None:
    with pytest.raises(DatasetError, match="none of the 1 training faces has a sub-class"):
        select_training_set(ballots({"fear": 10}), TrainingConfig(), SubClassLabels({"else": "fear/1"}, "0" * 64))


def test_sub_classes_are_read_by_name(tmp_path: Path) -> None:
    path = tmp_path / "assignments.csv"
    path.write_text("name,sub_class,more\nfer0000001.png,fear/2,x\nfer0000002,anger/1,y\n")
    found = read_sub_classes(path)
    assert found.of_face == {"fer0000001": "fear/2", "fer0000002": "anger/1"}
    assert len(found.sha256) == 64


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,sub_class\n", "must have a face with a sub-class, got none"),
        (
            "name,sub_class\na,joy/1\n",
            "line 2: expected a name and a sub_class such as happiness/1, got 'a' and 'joy/1'",
        ),
        ("face,sub_class\na,fear/1\n", "line 2: .* got None and 'fear/1'"),
        ("name,sub_class\na,fear/1\nb\n", "line 3: .* got 'b' and None"),
    ],
)
def test_broken_file_of_sub_classes_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "assignments.csv"
    path.write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_sub_classes(path)


def test_missing_file_of_sub_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be read"):
        read_sub_classes(tmp_path / "none.csv")
