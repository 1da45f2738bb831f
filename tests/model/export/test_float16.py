"""Networks in float16, on the CPU, which widens each step to float32 and rounds between them, as a GPU does."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from mien.model.embedder.embedder import Embedder
from mien.model.errors import EmbedderError
from mien.model.export.float16 import between_convolutions, convert_to_float16
from mien.service.commands.main import main
from tests.support.faces import MakeFaces
from tests.support.small_run import SmallRun


@pytest.fixture(scope="module")
def half(small_run: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("half") / "half.onnx"
    assert main(["quantise", str(small_run.network), "--half", "--output", str(output)]) == 0
    return output


def test_float16_gives_nearly_what_float32_gives(half: Path, small_run: SmallRun, make_faces: MakeFaces) -> None:
    crops = make_faces(64, seed=5).images
    whole, rounded = Embedder(small_run.network, provider="cpu"), Embedder(half, provider="cpu")
    expected, found = whole.embed(crops), rounded.embed(crops)
    spread = np.linalg.norm(expected - expected.mean(axis=0), axis=1).mean()
    away = np.linalg.norm(found - expected, axis=1)
    assert 0 < away.max() < 0.01 * spread
    assert rounded.metadata == whole.metadata.model_copy(update={"precision": "float16"})


def test_convolutions_are_in_float16_and_both_ends_are_not(half: Path, small_run: SmallRun) -> None:
    graph, whole = onnx.load(half).graph, onnx.load(small_run.network).graph
    kinds = {each.name: each.data_type for each in graph.initializer}
    weights = [kinds[node.input[1]] for node in graph.node if node.op_type == "Conv"]
    assert len(weights) > 2
    assert set(weights) == {onnx.TensorProto.FLOAT16}
    heads = {kinds[node.input[1]] for node in graph.node if node.op_type == "Gemm"}
    assert heads == {onnx.TensorProto.FLOAT}
    assert graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    places = between_convolutions(whole.node)
    operations = [node.op_type for node in whole.node]
    assert min(places) == operations.index("Conv")
    assert len(whole.node) - 1 not in places
    assert operations.index("Gemm") not in places
    assert half.stat().st_size < small_run.network.stat().st_size


def test_network_that_is_not_float32_is_refused(half: Path, tmp_path: Path) -> None:
    with pytest.raises(EmbedderError, match="expected a network in float32, got one in float16"):
        convert_to_float16(half, tmp_path / "again.onnx")


def test_int8_needs_faces_and_float16_does_not(
    small_run: SmallRun, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["quantise", str(small_run.network), "--output", str(tmp_path / "int8.onnx")]) == 1
    assert "--data" in capfd.readouterr().err
