"""The portrait network: from a point of the embedding space to the average face there."""

import torch
from torch import Tensor, nn

from mien.model.datasets.ferplus import FACE_PX
from mien.model.networks.network import EMBEDDING_SIZE
from mien.model.networks.preprocessing import standardise
from mien.model.portraits.averages import CONTRAST


class PortraitNetwork(nn.Module):
    """From (n, 64) embeddings to (n, 48, 48) grey faces from 0 to 1.

    Two hidden layers give the shares of the principal components of average faces, which are fixed. The result is
    always a mix of averages, and no pattern that only a network takes for a face.
    """

    def __init__(self, width: int, components: int) -> None:
        super().__init__()
        self.shares = nn.Sequential(
            nn.Linear(EMBEDDING_SIZE, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, components),
        )
        self.faces = nn.Linear(components, FACE_PX**2)
        self.faces.requires_grad_(requires_grad=False)

    def fit_components(self, averages: Tensor) -> Tensor:
        """Set the principal components of (n, 48, 48) average faces.

        Returns:
            (n, components) shares of the components in each average, in standard deviations.
        """
        pixels = averages.flatten(1)
        mean = pixels.mean(dim=0)
        variances, axes = torch.linalg.eigh((pixels - mean).T @ (pixels - mean) / len(pixels))
        count = self.faces.in_features
        kept = axes[:, -count:]  # (2304, components): eigenvalues ascend
        scale = variances[-count:].clamp(min=1e-6).sqrt()
        with torch.no_grad():
            self.faces.weight.copy_(kept * scale)
            self.faces.bias.copy_(mean)
        shares: Tensor = ((pixels - mean) @ kept) / scale
        return shares

    def forward(self, embeddings: Tensor) -> Tensor:
        """(n, 64) to (n, 48, 48)."""
        faces = self.faces(self.shares(embeddings)).reshape(-1, 1, FACE_PX, FACE_PX)
        return (0.5 + CONTRAST * standardise(faces)).clamp(0, 1).squeeze(1)
