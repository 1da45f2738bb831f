import numpy as np
import pytest
from fastapi.testclient import TestClient

from mien.model.errors import UnsupportedImageError
from mien.service.app import create_app
from mien.service.inference.engine import Engine, load_engine
from mien.service.inference.prediction import InferenceRequest, Prediction
from mien.service.schemas.faces import classification
from mien.service.settings import Settings
from tests.support.answers import CROPPED, problem_kind
from tests.support.faces import MakeFaces
from tests.support.images import encode


@pytest.mark.parametrize(("threshold", "known"), [(0.0, True), (1.0, False)])
def test_min_typicality_of_known_expressions_can_be_set(
    served_engine: Engine, crop_file: bytes, threshold: float, known: bool
) -> None:
    strict = Engine(served_engine.bundle, served_engine.pipeline, max_k=10, min_typicality=threshold)
    (face,) = classification(strict.predict_one(InferenceRequest(crop_file=crop_file))).faces
    assert face.typicality < 1
    assert face.known is known


def test_crop_files_in_a_batch_are_predicted_as_alone(served_engine: Engine, make_faces: MakeFaces) -> None:
    first, second = (encode(image) for image in make_faces(2).images)
    points = served_engine.pipeline.embed(served_engine.pipeline.read_faces(second, already_cropped=True))
    answers = served_engine.predict(
        [
            InferenceRequest(crop_file=first, k=3),
            InferenceRequest(crop_file=b"no image"),
            InferenceRequest(points=points),
            InferenceRequest(crop_file=second),
        ]
    )
    assert isinstance(answers[1], UnsupportedImageError)
    predictions = [answer for answer in answers if isinstance(answer, Prediction)]
    assert [len(each.faces) for each in predictions] == [1, 0, 1]
    assert [len(each.found[0].matches) for each in predictions if each.found] == [3]
    alone = served_engine.pipeline.embed(served_engine.pipeline.read_faces(first, already_cropped=True))
    np.testing.assert_allclose(predictions[0].embeddings, alone, atol=1e-4)
    np.testing.assert_allclose(predictions[1].distances, predictions[2].distances, atol=1e-4)
    assert predictions[0].faces[0].box == (0, 0, 48, 48)
    with pytest.raises(UnsupportedImageError):
        served_engine.predict_one(InferenceRequest(crop_file=b"no image"))


def test_bytes_and_pixels_of_an_image_are_limited(served_engine: Engine, crop_file: bytes) -> None:
    for settings in (Settings(max_image_bytes=len(crop_file) - 1), Settings(max_image_pixels=48 * 48 - 1)):
        with TestClient(create_app(load_engine(settings), settings)) as client:
            answer = client.post("/classify", params=CROPPED, files={"image": crop_file})
            assert problem_kind(answer) == (413, "image-too-large")


def test_predictions_are_concatenated_in_their_order(served_engine: Engine, make_faces: MakeFaces) -> None:
    files = [encode(image) for image in make_faces(2).images]
    parts = [served_engine.predict_one(InferenceRequest(crop_file=file, k=2)) for file in files]
    whole = Prediction.concatenate(parts)
    assert len(whole) == len(whole.faces) == len(whole.found) == 2
    for row, part in enumerate(parts):
        assert whole.emotion_of(row) == part.emotion_of(0)
        assert whole.found[row] is part.found[0]
        np.testing.assert_array_equal(whole.embeddings[row], part.embeddings[0])


def test_prior_is_that_of_the_request_or_of_the_engine(served_engine: Engine, make_faces: MakeFaces) -> None:
    mixture = served_engine.bundle.mixture
    points = np.random.default_rng(0).choice(served_engine.bundle.gallery.embeddings, 400)
    for engine in (served_engine, Engine(served_engine.bundle, served_engine.pipeline, max_k=10, prior="data")):
        default, uniform, data = engine.predict(
            [
                InferenceRequest(points=points),
                InferenceRequest(points=points, prior="uniform"),
                InferenceRequest(points=points, prior="data"),
            ]
        )
        for answer, prior in ((default, engine.prior), (uniform, "uniform"), (data, "data")):
            assert isinstance(answer, Prediction)
            assert answer.prior == prior
            np.testing.assert_allclose(answer.posteriors, mixture.posterior(points, prior), atol=1e-12)
            assert (answer.likeliest == answer.posteriors.argmax(axis=1)).all()
            for row in range(len(answer)):
                assert (answer.sub_classes[row] or "").startswith(f"{answer.emotion_of(row)}/")
        assert isinstance(uniform, Prediction)
        assert isinstance(data, Prediction)
        assert (uniform.likeliest == mixture.distances(points).argmin(axis=1)).all()
        assert (uniform.likeliest != data.likeliest).any()
        np.testing.assert_array_equal(uniform.typicality, data.typicality)
