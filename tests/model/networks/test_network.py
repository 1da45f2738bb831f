from typing import Any

import pytest
import torch
from pydantic import ValidationError

from mien.model.errors import ConfigError
from mien.model.networks.config import NetworkConfig
from mien.model.networks.network import EMBEDDING_SIZE, Network, new_network, parameter_count

SMALL = NetworkConfig(widths=(8, 16), blocks=(1, 2))


@pytest.mark.parametrize("side_px", [40, 48, 47, 1])
@pytest.mark.parametrize("stem_stride", [1, 2])
def test_any_side_gives_an_embedding(side_px: int, stem_stride: int) -> None:
    network = new_network(NetworkConfig(widths=(8, 16, 16), blocks=(1, 1, 1), stem_stride=stem_stride), seed=0).eval()
    embeddings = network(torch.zeros(3, 1, side_px, side_px))
    assert embeddings.shape == (3, EMBEDDING_SIZE)
    assert torch.isfinite(embeddings).all()


def test_default_network_embeds() -> None:
    network = new_network(NetworkConfig(), seed=0).eval()
    with torch.inference_mode():
        assert network(torch.zeros(1, 1, 48, 48)).shape == (1, EMBEDDING_SIZE)


def test_embeddings_are_not_normalised() -> None:
    network = new_network(SMALL, seed=0).eval()
    pixels = torch.randn(4, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    bias = network.head.bias.detach()
    embeddings = network(pixels).detach()
    assert embeddings.norm(dim=1).std() > 1e-3
    # The last layer is linear: doubling its weights doubles the embedding.
    with torch.no_grad():
        network.head.weight.mul_(2)
    torch.testing.assert_close(network(pixels).detach() - bias, 2 * (embeddings - bias))


def test_faces_of_a_batch_are_independent_in_evaluation() -> None:
    network = new_network(SMALL, seed=0).eval()
    pixels = torch.randn(4, 1, 48, 48, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(network(pixels)[2:3], network(pixels[2:3]))


def test_dropout_is_used_in_training_only() -> None:
    network = new_network(NetworkConfig(widths=(8,), blocks=(1,), dropout=0.5), seed=0)
    pixels = torch.randn(4, 1, 48, 48, generator=torch.Generator().manual_seed(1))
    with torch.random.fork_rng():
        assert not torch.equal(network.train()(pixels), network(pixels))
    assert torch.equal(network.eval()(pixels), network(pixels))


def test_seed_decides_the_weights_and_the_global_generator_is_unchanged() -> None:
    state = torch.get_rng_state()
    first, again, other = (new_network(SMALL, seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_every_parameter_changes_the_embedding() -> None:
    network = new_network(SMALL, seed=0).train()
    network(torch.randn(8, 1, 48, 48, generator=torch.Generator().manual_seed(0))).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_parameters_are_counted() -> None:
    one_block = NetworkConfig(widths=(4,), blocks=(1,))
    stem, block, head = 9 * 4 + 8, 2 * (9 * 4 * 4 + 8), 4 * EMBEDDING_SIZE + EMBEDDING_SIZE
    assert parameter_count(Network(one_block)) == stem + block + head


@pytest.mark.parametrize(
    "wrong",
    [
        {"widths": (8, 16), "blocks": (1,)},
        {"widths": (), "blocks": ()},
        {"widths": (0,), "blocks": (1,)},
        {"widths": (8,), "blocks": (0,)},
        {"stem_stride": 3},
        {"dropout": 1.0},
        {"depth": 18},
    ],
)
def test_invalid_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        NetworkConfig(**wrong)


def test_frozen_blocks_keep_their_weights_and_statistics() -> None:
    network = new_network(NetworkConfig(backbone="mobilenet", side_px=32), seed=0)
    network.freeze(2)
    before = {name: values.clone() for name, values in network.state_dict().items()}
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.1, weight_decay=0.1)
    network.train()(torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))).square().sum().backward()
    optimiser.step()
    same = {name for name, values in network.state_dict().items() if torch.equal(values, before[name])}
    frozen = {name for name in before if name.startswith("stages.") and int(name.split(".")[1]) < 3 + 2 * 6}
    assert same == frozen


@pytest.mark.parametrize(
    ("config", "blocks"), [(NetworkConfig(backbone="mobilenet"), 14), (SMALL, 1)], ids=["too many", "residual"]
)
def test_blocks_that_are_not_there_cannot_be_frozen(config: NetworkConfig, blocks: int) -> None:
    with pytest.raises(ConfigError, match="frozen_blocks must be"):
        new_network(config, seed=0).freeze(blocks)
