from pathlib import Path

import numpy as np
import pytest
import torch

from mien.index.bundle.default import default_bundle
from mien.index.bundle.manifest import EMBEDDER
from mien.model.embedder.embedder import Embedder
from mien.model.errors import EmbedderError
from mien.model.networks.torch_graph import TorchGraph
from tests.support.small_run import SmallRun


@pytest.fixture(params=["shipped", "small"])
def network(request: pytest.FixtureRequest, small_run: SmallRun) -> Path:
    """A MobileNet, and a residual network that averages each face with its mirror image."""
    return default_bundle() / EMBEDDER if request.param == "shipped" else small_run.network


def test_result_is_that_of_onnx_runtime(network: Path) -> None:
    crops = np.random.default_rng(0).integers(0, 256, (5, 48, 48)).astype(np.uint8)
    found = TorchGraph(network)(torch.from_numpy(crops)).detach().numpy()
    np.testing.assert_allclose(found, Embedder(network, provider="cpu").embed(crops), atol=0.03)


def test_gradients_reach_the_pixels(network: Path) -> None:
    faces = torch.rand(2, 48, 48, requires_grad=True)
    TorchGraph(network)(faces * 255).square().sum().backward()
    assert faces.grad is not None
    assert float(faces.grad.abs().amax(dim=(1, 2)).min()) > 0


def test_files_that_are_not_onnx_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"no graph")
    with pytest.raises(EmbedderError, match="is no ONNX graph"):
        TorchGraph(tmp_path / "x.onnx")


def test_unknown_operation_is_named(tmp_path: Path) -> None:
    from onnx import TensorProto, helper, save

    graph = helper.make_graph(
        [helper.make_node("Erf", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    save(helper.make_model(graph), str(tmp_path / "x.onnx"))
    with pytest.raises(EmbedderError, match="not implemented in torch: Erf"):
        TorchGraph(tmp_path / "x.onnx")
