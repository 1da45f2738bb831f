"""Validation during training: embeddings, and the accuracy of the nearest centroid."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mien.model.losses.centroids import class_centroids, squared_distances
from mien.model.networks.network import EMBEDDING_SIZE, Network
from mien.model.networks.preprocessing import prepare

LabelledCrops = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""(n, h, w) face crops and their (n,) emotions."""


def embed_with(network: Network, crops: NDArray[np.uint8], device: torch.device, batch_size: int = 512) -> Tensor:
    """(n, 64) float32 embeddings, on the CPU, of (n, h, w) crops by a network, which is set to evaluation mode."""
    network.eval()
    parts = [torch.empty(0, EMBEDDING_SIZE)]
    with torch.inference_mode():
        for start in range(0, len(crops), batch_size):
            faces = prepare(torch.from_numpy(crops[start : start + batch_size]).to(device), network.config.side_px)
            parts.append(network(faces.contiguous(memory_format=torch.channels_last)).float().cpu())
    return torch.cat(parts)


def nearest_centroid_accuracy(
    network: Network, anchors: LabelledCrops, validation: LabelledCrops, device: torch.device
) -> float:
    """Share of the validation faces that are nearest to the centroid of their label, measured on the anchors."""
    (anchor_crops, anchor_labels), (crops, crop_labels) = anchors, validation
    count = int(max(anchor_labels.max(), crop_labels.max())) + 1
    centroids, present = class_centroids(
        embed_with(network, anchor_crops, device), torch.from_numpy(anchor_labels), count
    )  # (c, d), (c,)
    distances = squared_distances(embed_with(network, crops, device), centroids)  # (n, c)
    nearest = distances.masked_fill(~present, torch.inf).argmin(dim=1)
    return float((nearest == torch.from_numpy(crop_labels)).float().mean())
