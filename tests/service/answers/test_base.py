"""Answers as rows, as a table of pandas, and as JSON."""

import json
import sys

import pytest

from mien.model.errors import ConfigError
from mien.service.answers.base import Answer
from mien.service.answers.faces import Classification, Embedding, Retrieval
from mien.service.answers.space import Atlas, Map
from mien.service.answers.video import VideoFrame

FACE = {"box": [1.0, 2.0, 3.0, 4.0], "detection": 0.9, "emotion": "fear"}
QUALITY = {"face_px": 20, "sharpness": 0.2, "yaw": None, "pitch": None, "roll": None, "outside": 0}
CLASSIFIED = {
    **FACE,
    "posterior": {"fear": 0.75, "anger": 0.25},
    "distance": 1.5,
    "typicality": 0.5,
    "known": True,
    "intensity": 0.9,
    "quality": QUALITY,
    "reasons": ["small"],
}
MATCH = {"id": "a", "distance": 0.1, "emotion": "fear", "metadata": {"n": [1.5], "who": {"x": 1}}}


def test_classification_has_a_row_for_each_face() -> None:
    answer = Classification.model_validate({"faces": [CLASSIFIED, {**CLASSIFIED, "sub_class": "fear/1"}]})
    first, second = answer.rows()
    assert first == {
        "face": 0,
        "detection": 0.9,
        "emotion": "fear",
        "sub_class": None,
        "sub_class_name": None,
        "distance": 1.5,
        "typicality": 0.5,
        "known": True,
        "intensity": 0.9,
        "reasons": "small",
        "x": 1.0,
        "y": 2.0,
        "width": 3.0,
        "height": 4.0,
        "fear": 0.75,
        "anger": 0.25,
        "quality_face_px": 20.0,
        "quality_sharpness": 0.2,
        "quality_yaw": None,
        "quality_pitch": None,
        "quality_roll": None,
        "quality_outside": 0.0,
    }
    assert (second["face"], second["sub_class"]) == (1, "fear/1")
    assert answer.faces[0].rows() == [{name: value for name, value in first.items() if name != "face"}]


def test_embedding_has_a_column_for_each_number() -> None:
    (row,) = Embedding.model_validate({"faces": [{**CLASSIFIED, "embedding": [0.5, -0.5]}]}).rows()
    assert (row["embedding_0"], row["embedding_1"]) == (0.5, -0.5)


def test_retrieval_has_a_row_for_each_match_with_its_metadata_whole() -> None:
    answer = Retrieval.model_validate(
        {"faces": [{**CLASSIFIED, "embedding": [0.5], "matches": [MATCH, {**MATCH, "id": "b"}], "next": "x"}]}
    )
    rows = answer.rows()
    assert [(row["face"], row["rank"], row["id"]) for row in rows] == [(0, 1, "a"), (0, 2, "b")]
    assert rows[0]["metadata"] == MATCH["metadata"]


def test_frame_map_and_atlas_have_rows() -> None:
    frame = VideoFrame.model_validate(
        {"kind": "frame", "time_s": 0.5, "frame": 3, "faces": [{**CLASSIFIED, "track": 2}]}
    )
    assert [(row["time_s"], row["frame"], row["track"], row["fear"]) for row in frame.rows()] == [(0.5, 3, 2, 0.75)]
    region = {"id": "fear", "x": 0, "y": 0, "long": 1, "short": 1, "turn": 0}
    shown = {"middle": [], "axes": [], "emotions": [region], "sub_classes": [], "faces": 1, "owned": False}
    space = Map.model_validate({**shown, "ids": ["a"], "x": [1], "y": [2], "emotion": [0]})
    assert space.rows() == [{"id": "a", "x": 1.0, "y": 2.0, "emotion": "fear"}]
    leaf = {"id": "fear/1", "faces": 1, "share": 0.5, "votes": {"fear": 1}, "nearest": [], "sub_classes": []}
    atlas = Atlas.model_validate(
        {"faces": 2, "owned": False, "portraits": True, "emotions": [{**leaf, "id": "fear", "sub_classes": [leaf]}]}
    )
    assert [(row["id"], row["votes_fear"]) for row in atlas.rows()] == [("fear", 1.0), ("fear/1", 1.0)]


def test_frame_of_pandas_has_the_rows() -> None:
    pytest.importorskip("pandas")
    frame = Classification.model_validate({"faces": [CLASSIFIED]}).to_frame()
    assert {"fear", "anger", "quality_sharpness"} <= set(frame.columns)
    assert frame["fear"].tolist() == [0.75]
    assert frame["known"].dtype == bool


def test_missing_pandas_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match="to_frame needs pandas, which is not installed: pip install pandas"):
        Classification(faces=[]).to_frame()


def test_json_is_read_again() -> None:
    answer = Classification.model_validate({"faces": [CLASSIFIED]})
    assert Classification.model_validate_json(answer.to_json()) == answer
    assert json.loads(answer.to_json())["faces"][0]["posterior"] == CLASSIFIED["posterior"]


def test_unknown_fields_of_a_newer_service_are_ignored() -> None:
    assert Answer.model_validate({"later": 1}).rows() == [{}]
