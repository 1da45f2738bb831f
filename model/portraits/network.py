"""The portrait network: from a point of the embedding space to the average face there."""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from mien.model.datasets.ferplus import FACE_PX
from mien.model.networks.network import EMBEDDING_SIZE
from mien.model.networks.preprocessing import standardise

CONTRAST: Final = 0.22
"""Standard deviation of the grey values of a portrait, from 0 to 1: the mean of FER2013."""

RIDGE: Final = 20.0
"""Regularisation of the linear part towards the average face, in squared embedding units."""


class PortraitNetwork(nn.Module):
    """From (n, 64) embeddings to (n, 48, 48) grey faces from 0 to 1.

    A ridge regression of faces on embeddings gives averages, in which an expression is fainter than in any face. The
    trained part shifts the point given to the regression, so that the embedding of the portrait is the point that was
    asked for. The result is always a mix of averages, and no pattern that only a network takes for a face.

    A portrait shows no person: what the embedding does not contain, such as identity, is averaged over all faces with
    the expression. All portraits have the same contrast, since it is not part of an expression either.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.average = nn.Linear(EMBEDDING_SIZE, FACE_PX**2)
        self.hidden = nn.Linear(EMBEDDING_SIZE, width)
        self.stronger = nn.Linear(width, EMBEDDING_SIZE)
        nn.init.zeros_(self.stronger.weight)
        nn.init.zeros_(self.stronger.bias)

    def fit_linear_part(self, embeddings: Tensor, faces: Tensor) -> None:
        """Set the linear part to the ridge regression of (n, 48, 48) standardised faces on (n, 64) embeddings."""
        points, pixels = embeddings.double(), faces.double().flatten(1)
        middle, mean = points.mean(dim=0), pixels.mean(dim=0)
        centred = points - middle
        gram = centred.T @ centred + RIDGE * torch.eye(EMBEDDING_SIZE, dtype=torch.float64)
        slopes = torch.linalg.solve(gram, centred.T @ (pixels - mean))  # (64, 2304)
        with torch.no_grad():
            self.average.weight.copy_(slopes.T)
            self.average.bias.copy_(mean - middle @ slopes)

    def forward(self, embeddings: Tensor) -> Tensor:
        """(n, 64) to (n, 48, 48)."""
        moved = embeddings + self.stronger(functional.relu(self.hidden(embeddings)))
        faces = self.average(moved).reshape(-1, 1, FACE_PX, FACE_PX)
        return set_contrast(standardise(faces))


def set_contrast(standardised: Tensor) -> Tensor:
    """(n, h, w) greys from 0 to 1 of (n, 1, h, w) standardised faces."""
    return (0.5 + CONTRAST * standardised).clamp(0, 1).squeeze(1)
