import numpy as np
import pytest
import torch

from mien.index.bundle.bundle import Bundle, load_bundle
from mien.index.fitting.portraits import sub_class_gaussians
from mien.model.portraits.sub_class_posterior import SubClassPosterior
from tests.support.small_run import SmallRun


def test_posterior_is_that_of_the_service(shipped_bundle: Bundle) -> None:
    assert shipped_bundle.sub_classes is not None
    points = shipped_bundle.gallery.embeddings[::997]
    found = SubClassPosterior(sub_class_gaussians(shipped_bundle))(torch.from_numpy(points)).exp().numpy()
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-4)
    emotion = np.array(
        [shipped_bundle.mixture.emotions.index(each.emotion) for each in shipped_bundle.sub_classes.each]
    )
    by_emotion = np.stack(
        [found[:, emotion == place].sum(axis=1) for place in range(len(shipped_bundle.mixture.emotions))], 1
    )
    np.testing.assert_allclose(by_emotion, shipped_bundle.mixture.posterior(points), atol=1e-4)
    named = by_emotion.argmax(axis=1)
    places, shares = shipped_bundle.sub_classes.assign(points, named)
    within = found[np.arange(len(points)), places] / by_emotion[np.arange(len(points)), named]
    np.testing.assert_allclose(within, shares, atol=1e-3)


def test_posterior_without_sub_classes_is_that_of_the_emotions(small_run: SmallRun) -> None:
    small = load_bundle(small_run.bundle)
    points = small.gallery.embeddings[:20]
    found = SubClassPosterior(sub_class_gaussians(small))(torch.from_numpy(points)).exp().numpy()
    np.testing.assert_allclose(found, small.mixture.posterior(points), atol=1e-4)


def test_difference_is_zero_only_for_the_same_point(shipped_bundle: Bundle) -> None:
    naming = SubClassPosterior(sub_class_gaussians(shipped_bundle))
    centroids = torch.from_numpy(shipped_bundle.mixture.centroids.astype(np.float32))
    assert float(naming.difference(centroids, centroids)) == pytest.approx(0, abs=1e-5)
    assert float(naming.difference(centroids, centroids.roll(1, dims=0))) > 1


def test_gradient_of_the_difference_leads_to_the_point(shipped_bundle: Bundle) -> None:
    assert shipped_bundle.sub_classes is not None
    naming = SubClassPosterior(sub_class_gaussians(shipped_bundle))
    asked = torch.from_numpy(
        np.stack([each.centroid for each in shipped_bundle.sub_classes.each[:4]]).astype(np.float32)
    )
    read = asked.roll(1, dims=0).clone().requires_grad_(True)
    before = naming.difference(asked, read)
    (gradient,) = torch.autograd.grad(before, read)
    assert float(naming.difference(asked, read.detach() - 0.05 * gradient)) < float(before.detach())
