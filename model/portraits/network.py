"""The portrait network: a point of the embedding space to the average face there."""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from mien.model.datasets.ferplus import FACE_PX
from mien.model.networks.network import EMBEDDING_SIZE
from mien.model.networks.preprocessing import standardise

CONTRAST: Final = 0.22
"""Standard deviation of a painted face's greys, which run from 0 to 1: that of FER2013 on average."""

RIDGE: Final = 20.0
"""How strongly the linear part is held to the average face, in squared embedding units."""


class PortraitNetwork(nn.Module):
    """From (n, 64) embeddings to (n, 48, 48) grey faces from 0 to 1.

    The ridge regression of faces on embeddings paints averages, in which an expression is fainter than in any face.
    What is trained moves the point that it paints, so that the portrait is read as the point that was asked for; what
    comes out is always a mix of averages, never a pattern that only a network takes for a face.

    It cannot show anyone: what the embedding does not hold, such as who it is, comes out as the average over all
    faces with that expression. Every face has the same contrast, since that is not part of an expression, either.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.average = nn.Linear(EMBEDDING_SIZE, FACE_PX**2)
        self.hidden = nn.Linear(EMBEDDING_SIZE, width)
        self.stronger = nn.Linear(width, EMBEDDING_SIZE)
        nn.init.zeros_(self.stronger.weight)
        nn.init.zeros_(self.stronger.bias)

    def fit_linear_part(self, embeddings: Tensor, faces: Tensor) -> None:
        """Set the linear part to the ridge regression of standardised (n, 48, 48) faces on (n, 64) embeddings."""
        points, pixels = embeddings.double(), faces.double().flatten(1)
        middle, mean = points.mean(dim=0), pixels.mean(dim=0)
        centred = points - middle
        gram = centred.T @ centred + RIDGE * torch.eye(EMBEDDING_SIZE, dtype=torch.float64)
        slopes = torch.linalg.solve(gram, centred.T @ (pixels - mean))  # (64, 2304)
        with torch.no_grad():
            self.average.weight.copy_(slopes.T)
            self.average.bias.copy_(mean - middle @ slopes)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Paint faces."""
        moved = embeddings + self.stronger(functional.relu(self.hidden(embeddings)))
        faces = self.average(moved).reshape(-1, 1, FACE_PX, FACE_PX)
        return set_contrast(standardise(faces))


def set_contrast(standardised: Tensor) -> Tensor:
    """(n, h, w) greys from 0 to 1 of (n, 1, h, w) standardised faces."""
    return (0.5 + CONTRAST * standardised).clamp(0, 1).squeeze(1)
