"""The fitted test of covered mouths and eyes, on drawings and on faces."""

import numpy as np
import pytest

from mien.index.bundle.bundle import load_bundle
from mien.index.bundle.default import default_bundle
from mien.index.fitting.covering import FALSE_ALARMS, fit_covering
from mien.index.fitting.drawn_coverings import SEEN, UNSEEN, Covering, cover
from mien.index.mixture.covering import PARTS
from mien.model.datasets.ferplus import read_ferplus
from mien.model.embedder.embedder import Embedder
from mien.model.emotions import UNLABELLED, labels
from tests.support.data import FERPLUS, needs_ferplus
from tests.support.faces import MakeFaces


@pytest.mark.parametrize("covering", [*SEEN, *UNSEEN], ids=lambda each: each.kind)
def test_covering_is_drawn_over_its_part_alone(covering: Covering) -> None:
    faces = np.full((5, 48, 48), 120, np.uint8)
    faces[:, ::2] = 136
    drawn = cover(faces, covering, seed=3)
    assert (faces == faces[:1]).all()  # the faces themselves are left as they were
    changed = (drawn != faces).mean(axis=0)
    mouth, eyes = changed[34:40, 18:30].mean(), changed[16:21, 12:20].mean()
    assert (mouth if covering.part == "mouth" else eyes) > 0.5
    assert (eyes if covering.part == "mouth" else mouth) < 0.05
    np.testing.assert_array_equal(drawn, cover(faces, covering, seed=3))
    assert (drawn != cover(faces, covering, seed=4)).any()


def test_no_kind_is_both_seen_and_unseen() -> None:
    assert not {each.kind for each in SEEN} & {each.kind for each in UNSEEN}
    assert {each.part for each in SEEN} == {each.part for each in UNSEEN} == set(PARTS)


def test_threshold_keeps_the_false_alarms(make_faces: MakeFaces) -> None:
    embedder = Embedder(load_bundle(default_bundle()).embedder_path)
    training, held_out = make_faces(120, seed=1).images, make_faces(100, seed=2).images
    test = fit_covering(embedder, training, held_out, count=20)
    alarms = test.covered(held_out, embedder.embed(held_out)).mean(axis=0)
    assert (alarms <= FALSE_ALARMS + 0.01).all()
    for part, covering in (("mouth", SEEN[1]), ("eyes", SEEN[6])):
        drawn = cover(held_out, covering, seed=9)
        assert test.covered(drawn, embedder.embed(drawn))[:, PARTS.index(part)].mean() > 0.6


@needs_ferplus
def test_shipped_bundle_notices_masks_and_sunglasses() -> None:
    bundle = load_bundle(default_bundle())
    assert bundle.covering is not None
    embedder = Embedder(bundle.embedder_path)
    faces = read_ferplus(FERPLUS, "PublicTest")
    crops = faces.images[labels(faces.votes) != UNLABELLED][:200]
    assert bundle.covering.covered(crops, embedder.embed(crops)).mean() < 0.06
    least = {"surgical mask": 0.9, "respirator": 0.9, "round sunglasses": 0.85, "aviators": 0.7}
    for covering in (*SEEN, *UNSEEN):
        if covering.kind in least:
            drawn = cover(crops, covering, seed=7)
            noticed = bundle.covering.covered(drawn, embedder.embed(drawn))[:, PARTS.index(covering.part)]
            assert noticed.mean() > least[covering.kind], covering.kind
