import numpy as np
import pytest
import torch

from mien.index.bundle.bundle import Bundle, load_bundle
from mien.index.bundle.default import default_bundle
from mien.index.fitting.portraits import sub_class_gaussians
from mien.model.portraits.sub_class_posterior import SubClassPosterior
from tests.support.small_run import SmallRun


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(default_bundle())


def test_posterior_is_that_of_the_service(bundle: Bundle) -> None:
    assert bundle.sub_classes is not None
    points = bundle.gallery.embeddings[::997]
    found = SubClassPosterior(sub_class_gaussians(bundle))(torch.from_numpy(points)).exp().numpy()
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-4)
    emotion = np.array([bundle.mixture.emotions.index(each.emotion) for each in bundle.sub_classes.each])
    by_emotion = np.stack([found[:, emotion == place].sum(axis=1) for place in range(len(bundle.mixture.emotions))], 1)
    np.testing.assert_allclose(by_emotion, bundle.mixture.posterior(points), atol=1e-4)
    named = by_emotion.argmax(axis=1)
    places, shares = bundle.sub_classes.assign(points, named)
    within = found[np.arange(len(points)), places] / by_emotion[np.arange(len(points)), named]
    np.testing.assert_allclose(within, shares, atol=1e-3)


def test_posterior_without_sub_classes_is_that_of_the_emotions(small_run: SmallRun) -> None:
    small = load_bundle(small_run.bundle)
    points = small.gallery.embeddings[:20]
    found = SubClassPosterior(sub_class_gaussians(small))(torch.from_numpy(points)).exp().numpy()
    np.testing.assert_allclose(found, small.mixture.posterior(points), atol=1e-4)


def test_difference_is_zero_only_for_the_same_point(bundle: Bundle) -> None:
    naming = SubClassPosterior(sub_class_gaussians(bundle))
    centroids = torch.from_numpy(bundle.mixture.centroids.astype(np.float32))
    assert float(naming.difference(centroids, centroids)) == pytest.approx(0, abs=1e-5)
    assert float(naming.difference(centroids, centroids.roll(1, dims=0))) > 1


def test_gradient_of_the_difference_leads_to_the_point(bundle: Bundle) -> None:
    assert bundle.sub_classes is not None
    naming = SubClassPosterior(sub_class_gaussians(bundle))
    asked = torch.from_numpy(np.stack([each.centroid for each in bundle.sub_classes.each[:4]]).astype(np.float32))
    read = asked.roll(1, dims=0).clone().requires_grad_(True)
    before = naming.difference(asked, read)
    (gradient,) = torch.autograd.grad(before, read)
    assert float(naming.difference(asked, read.detach() - 0.05 * gradient)) < float(before.detach())
