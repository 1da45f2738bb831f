import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from mien.model.errors import ConfigError
from mien.model.networks.config import NetworkConfig
from mien.model.networks.from_tfjs import GREY_LEVELS, load_weights, read_arrays
from mien.model.networks.mobilenet import BLOCKS, STEM_CHANNELS
from mien.model.networks.network import new_network

MOBILENET = NetworkConfig(backbone="mobilenet", side_px=32)


def write_arrays(path: Path, arrays: dict[str, NDArray[np.floating]], **description: Any) -> Path:
    """Write arrays as TensorFlow.js does: float16 is declared as quantization."""
    weights = []
    for name, values in arrays.items():
        entry: dict[str, Any] = {"name": name, "shape": list(values.shape), "dtype": "float32"}
        if values.dtype == np.float16:
            entry["quantization"] = {"dtype": "float16", "original_dtype": "float32"}
        weights.append(entry)
    path.write_text(json.dumps({"format": "graph-model", "weightsManifest": [{"weights": weights}], **description}))
    path.with_suffix(".bin").write_bytes(b"".join(values.tobytes() for values in arrays.values()))
    return path


def face_arrays(seed: int = 0) -> dict[str, NDArray[np.floating]]:
    """Random arrays with the names and shapes of the face network, some of them float16."""
    generator = np.random.default_rng(seed)

    def drawn(*shape: int, spread: float = 1.0) -> NDArray[np.float32]:
        return generator.normal(0, spread, shape).astype(np.float32)

    arrays: dict[str, NDArray[np.floating]] = {
        "feats/bias": drawn(256),
        "conv1/convolution/merged_input": drawn(3, 3, 3, STEM_CHANNELS, spread=0.002),
        "conv1_bn/batchnorm_1/sub": drawn(STEM_CHANNELS).astype(np.float16),
    }
    channels = STEM_CHANNELS
    for number, (width, _) in enumerate(BLOCKS, start=1):
        arrays[f"conv_dw_{number}/depthwise_kernel"] = drawn(3, 3, channels, 1)
        arrays[f"conv_dw_{number}_bn/batchnorm_1/mul"] = 0.3 + np.abs(drawn(channels))
        arrays[f"conv_dw_{number}_bn/batchnorm_1/sub"] = 1 + drawn(channels)
        arrays[f"conv_pw_{number}/convolution/merged_input"] = drawn(1, 1, channels, width, spread=channels**-0.5)
        arrays[f"conv_pw_{number}_bn/batchnorm_1/sub"] = 1 + drawn(width).astype(np.float16)
        channels = width
    return arrays


def test_arrays_are_read_by_name(tmp_path: Path) -> None:
    arrays = face_arrays()
    found = read_arrays(write_arrays(tmp_path / "face.json", arrays))
    assert found.keys() == arrays.keys()
    for name, values in arrays.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], values.astype(np.float32))


def test_network_computes_what_the_face_network_does(tmp_path: Path) -> None:
    arrays = {name: values.astype(np.float32) for name, values in face_arrays().items()}
    path = write_arrays(tmp_path / "face.json", arrays)
    faces = torch.randn(6, 1, 32, 32, generator=torch.Generator().manual_seed(0))

    def kernel(name: str) -> torch.Tensor:
        return torch.from_numpy(arrays[name].copy())

    maps = functional.conv2d(
        faces.expand(6, 3, 32, 32) * GREY_LEVELS,
        kernel("conv1/convolution/merged_input").permute(3, 2, 0, 1),
        None,
        2,
        1,
    )
    maps = functional.relu6(maps + kernel("conv1_bn/batchnorm_1/sub").view(-1, 1, 1))
    for number, (_, stride) in enumerate(BLOCKS, start=1):
        depthwise = kernel(f"conv_dw_{number}/depthwise_kernel").permute(2, 3, 0, 1)
        maps = functional.conv2d(maps, depthwise, None, stride, 1, groups=len(depthwise))
        maps = maps * kernel(f"conv_dw_{number}_bn/batchnorm_1/mul").view(-1, 1, 1)
        maps = functional.relu6(maps + kernel(f"conv_dw_{number}_bn/batchnorm_1/sub").view(-1, 1, 1))
        pointwise = kernel(f"conv_pw_{number}/convolution/merged_input").permute(3, 2, 0, 1)
        maps = functional.conv2d(maps, pointwise)
        maps = functional.relu6(maps + kernel(f"conv_pw_{number}_bn/batchnorm_1/sub").view(-1, 1, 1))
    assert float(maps.std()) > 0.1

    network = new_network(MOBILENET, seed=0)
    head = network.head.weight.clone()
    load_weights(network, path, faces)
    for mode in (False, True):  # the statistics of the batch are those that were kept
        network.train(mode)
        torch.testing.assert_close(network.stages(faces), maps, atol=1e-3, rtol=1e-3)
    assert torch.equal(network.head.weight, head)
    normalisations = [layer for layer in network.stages if isinstance(layer, nn.BatchNorm2d)]
    assert all(layer.weight.requires_grad for layer in normalisations)


def test_another_backbone_is_refused(tmp_path: Path) -> None:
    path = write_arrays(tmp_path / "face.json", face_arrays())
    network = new_network(NetworkConfig(widths=(8,), blocks=(1,)), seed=0)
    with pytest.raises(ConfigError, match="fit the backbone mobilenet, got residual"):
        load_weights(network, path, torch.zeros(2, 1, 32, 32))


def test_missing_array_is_named(tmp_path: Path) -> None:
    arrays = face_arrays()
    arrays["conv_dw_3/depthwise_kernel"] = arrays["conv_dw_3/depthwise_kernel"][:2]
    path = write_arrays(tmp_path / "face.json", arrays)
    message = r"conv_dw_3/depthwise_kernel of shape \(3, 3, 128, 1\), got \(2, 3, 128, 1\)"
    with pytest.raises(ConfigError, match=message):
        load_weights(new_network(MOBILENET, seed=0), path, torch.zeros(2, 1, 32, 32))
    del arrays["conv1_bn/batchnorm_1/sub"]
    write_arrays(path, arrays)
    with pytest.raises(ConfigError, match=r"conv1_bn/batchnorm_1/sub of shape \(32,\), got none"):
        load_weights(new_network(MOBILENET, seed=0), path, torch.zeros(2, 1, 32, 32))


def test_weights_of_another_length_are_refused(tmp_path: Path) -> None:
    path = write_arrays(tmp_path / "face.json", {"a": np.zeros(4, dtype=np.float32)})
    path.with_suffix(".bin").write_bytes(b"123")
    with pytest.raises(ConfigError, match=r"describes 16 bytes of weights, .*face\.bin has 3"):
        read_arrays(path)
    path.with_suffix(".bin").unlink()
    with pytest.raises(ConfigError, match=r"cannot be read from .*face\.bin"):
        read_arrays(path)
    for text in ("{", "[]", '{"weightsManifest": [{"weights": [{"name": "a"}]}]}', '{"weightsManifest": 3}'):
        path.write_text(text)
        with pytest.raises(ConfigError, match=r"is not the description of a TensorFlow\.js model"):
            read_arrays(path)
