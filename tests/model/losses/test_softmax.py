import torch

from mien.model.losses.softmax import SoftmaxLoss
from tests.support.losses import FIXED_SIGMA, random_batch


def test_softmax_is_cross_entropy_of_a_linear_layer() -> None:
    loss, given = SoftmaxLoss(FIXED_SIGMA, 5, 4), random_batch(10, 5, 4, seed=13)
    logits = given.embeddings @ loss.head.weight.T + loss.head.bias
    expected = torch.nn.functional.cross_entropy(logits, given.targets)
    torch.testing.assert_close(loss(given), expected)
