from collections.abc import Callable

import numpy as np
import pytest
import torch

from mien.model.datasets.ferplus import LabelledFaces
from mien.model.networks.config import NetworkConfig
from mien.model.networks.network import EMBEDDING_SIZE, new_network
from mien.model.networks.preprocessing import standardise, to_unit
from mien.model.training.validation import embed_with, nearest_centroid_accuracy

MakeFaces = Callable[..., LabelledFaces]

CPU = torch.device("cpu")
SMALL = NetworkConfig(widths=(8, 16), blocks=(1, 1), dropout=0.1)


def test_embeddings_do_not_depend_on_the_batch_size(make_faces: MakeFaces) -> None:
    network = new_network(SMALL, seed=0)
    crops = make_faces(10).images
    together = embed_with(network, crops, CPU)
    assert together.shape == (10, EMBEDDING_SIZE)
    assert not network.training
    torch.testing.assert_close(embed_with(network, crops, CPU, batch_size=3), together)
    with torch.inference_mode():
        torch.testing.assert_close(network(standardise(to_unit(torch.from_numpy(crops)))), together)
    assert embed_with(network, crops[:0], CPU).shape == (0, EMBEDDING_SIZE)


def test_accuracy_is_the_share_of_nearest_centroids_with_the_label(make_faces: MakeFaces) -> None:
    network = new_network(SMALL, seed=0)
    anchors, held_out = make_faces(24, seed=1).images, make_faces(16, seed=2).images
    anchor_labels, held_out_labels = np.arange(24) % 5, np.arange(16) % 8  # three emotions have no anchor
    with torch.no_grad():  # around the origin, where an absent centroid would be
        network.head.bias.sub_(embed_with(network, held_out, CPU).mean(dim=0))
    z, queries = embed_with(network, anchors, CPU).numpy(), embed_with(network, held_out, CPU).numpy()
    centroids = [z[anchor_labels == label].mean(axis=0) for label in range(5)]
    nearest = [int(np.argmin([np.sum((q - centroid) ** 2) for centroid in centroids])) for q in queries]
    expected = np.mean(np.array(nearest) == held_out_labels)
    found = nearest_centroid_accuracy(network, (anchors, anchor_labels), (held_out, held_out_labels), CPU)
    assert found == pytest.approx(expected)
    assert 0 < found < 1


def test_faces_are_scaled_to_the_side_of_the_network(make_faces: MakeFaces) -> None:
    network = new_network(SMALL.model_copy(update={"side_px": 64}), seed=0)
    crops = make_faces(4).images
    seen = torch.nn.functional.interpolate(
        standardise(to_unit(torch.from_numpy(crops))), size=(64, 64), mode="bilinear"
    )
    found = embed_with(network, crops, CPU)
    with torch.inference_mode():
        torch.testing.assert_close(network(seen), found)
