import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from mien.model.embedder.embedder import Embedder
from mien.model.errors import CheckpointError, EmbedderError
from mien.model.export.export import PARITY_TOLERANCE, ExportedNetwork, export, parity
from mien.model.networks.preprocessing import standardise, to_unit
from mien.model.training.checkpoint import load_network
from tests.support.faces import MakeFaces
from tests.support.small_run import SmallRun


def test_exported_equals_torch(small_run: SmallRun, make_faces: MakeFaces) -> None:
    network, config, sigma = load_network(small_run.checkpoint)
    crops = make_faces(24, seed=5).images
    embedder = Embedder(small_run.network, provider="cpu")
    faces = standardise(to_unit(torch.from_numpy(crops)))
    with torch.inference_mode():
        expected = (network(faces) + network(faces.flip(3))) / 2
    np.testing.assert_allclose(embedder.embed(crops), expected.numpy(), atol=1e-4)
    assert embedder.sigma == sigma == config.sigma
    assert embedder.metadata.training == config.model_dump(mode="json")


def test_exporter_is_quiet_only_while_it_runs(small_run: SmallRun, tmp_path: Path) -> None:
    """It warns, through its log, of each library that it looks for and does not need."""
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    records: list[logging.LogRecord] = []

    def note(record: logging.LogRecord) -> bool:
        records.append(record)
        return True

    before = log.getEffectiveLevel()
    log.addFilter(note)
    try:
        export(small_run.checkpoint, tmp_path / "quiet.onnx")
    finally:
        log.removeFilter(note)
    assert not records
    assert log.getEffectiveLevel() == before


def test_mirrored_face_has_the_same_embedding(small_run: SmallRun, make_faces: MakeFaces) -> None:
    crops = make_faces(8, seed=6).images
    embedder = Embedder(small_run.network, provider="cpu")
    mirrored = np.ascontiguousarray(crops[:, :, ::-1])
    np.testing.assert_allclose(embedder.embed(crops), embedder.embed(mirrored), atol=1e-4)


def test_without_mirror_the_network_sees_each_face_once(
    small_run: SmallRun, tmp_path: Path, make_faces: MakeFaces
) -> None:
    path = tmp_path / "plain.onnx"
    assert export(small_run.checkpoint, path, mirror=False) <= PARITY_TOLERANCE
    network, _, _ = load_network(small_run.checkpoint)
    crops = make_faces(8, seed=7).images
    with torch.inference_mode():
        expected = network(standardise(to_unit(torch.from_numpy(crops))))
    np.testing.assert_allclose(Embedder(path, provider="cpu").embed(crops), expected.numpy(), atol=1e-4)


def test_parity_differs_for_another_network(small_run: SmallRun) -> None:
    network, _, _ = load_network(small_run.checkpoint)
    with torch.no_grad():
        network.head.bias.add_(0.01)
    assert parity(ExportedNetwork(network, mirror=True).eval(), small_run.network) > PARITY_TOLERANCE


def test_failed_check_leaves_the_older_file(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "embedder.onnx"
    path.write_bytes(b"older")
    monkeypatch.setattr("mien.model.export.export.PARITY_TOLERANCE", -1.0)
    with pytest.raises(EmbedderError, match="differs from torch"):
        export(small_run.checkpoint, path)
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


def test_missing_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint"):
        export(tmp_path / "absent.pt", tmp_path / "embedder.onnx")
