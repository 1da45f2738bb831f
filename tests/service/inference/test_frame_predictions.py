"""A face that has not changed keeps its prediction."""

import numpy as np
import pytest

from mien.model.faces.reader import Face, whole_face
from mien.service.inference.engine import Engine
from mien.service.inference.frame_predictions import FramePredictions
from mien.service.inference.prediction import InferenceRequest, Prediction


@pytest.fixture
def faces() -> list[Face]:
    generator = np.random.default_rng(0)
    return [whole_face(generator.integers(0, 256, (48, 48), dtype=np.uint8)) for _ in range(4)]


def predicted(engine: Engine, known: FramePredictions, frame: list[Face]) -> Prediction | None:
    unknown = known.unknown(frame)
    return known.complete(frame, engine.predict_one(InferenceRequest(faces=unknown)) if unknown else None)


def test_only_new_faces_are_predicted_and_all_are_answered(served_engine: Engine, faces: list[Face]) -> None:
    known = FramePredictions()
    for frame in (faces[:2], [faces[2], faces[1]], [], [faces[3]], [faces[3]]):
        found = predicted(served_engine, known, frame)
        if not frame:
            assert found is None
            continue
        assert found is not None
        alone = served_engine.predict_one(InferenceRequest(faces=frame))
        assert found.faces == frame
        np.testing.assert_allclose(found.embeddings, alone.embeddings, atol=1e-4)
        np.testing.assert_allclose(found.posteriors, alone.posteriors, atol=1e-4)
        assert found.quality == alone.quality
        assert found.covered == alone.covered
        assert found.sub_classes == alone.sub_classes
        assert len(found) == len(frame)


def test_face_of_the_last_frame_is_not_unknown(served_engine: Engine, faces: list[Face]) -> None:
    known = FramePredictions()
    assert known.unknown(faces[:2]) == faces[:2]
    predicted(served_engine, known, faces[:2])
    assert known.unknown(faces[1:3]) == [faces[2]]
    predicted(served_engine, known, faces[1:3])
    assert known.unknown(faces[:1]) == faces[:1], "it is not kept for longer than a frame"
