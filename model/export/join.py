"""Joint networks: several exported networks in one graph, whose embeddings become one.

The squared distances of a joint embedding are the means of those of its members, each in units of its own sigma. Under
centroids that are joined likewise, the posterior of the mixture is then the geometric mean of the members' posteriors,
scaled to sum to 1 (a product of experts). The concatenated embeddings are rotated onto their principal axes, of which
the first keep nearly all distances, since each member's loss leaves few directions with much variance.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, compose, helper, numpy_helper

from mien.model.embedder.embedder import METADATA_KEY, Embedder, EmbedderMetadata
from mien.model.errors import ConfigError, DatasetError, EmbedderError
from mien.model.export.metadata import replace_metadata
from mien.model.files import write_atomically

AXES_FACES: Final = 4096
"""Faces on which the principal axes are measured; more faces change them little."""

PARITY_TOLERANCE: Final = 1e-3
"""Largest difference between the joint network and its members' embeddings, joined outside it, in embedding units."""


@dataclass(frozen=True)
class PrincipalAxes:
    """The rotation of concatenated embeddings.

    Attributes:
        mean: (m,) of the concatenated embeddings.
        axes: (m, d) orthonormal columns, the directions of most variance first.
        kept: share of the variance along them, from 0 to 1.
    """

    mean: NDArray[np.float32]
    axes: NDArray[np.float32]
    kept: float

    @classmethod
    def of(cls, embeddings: NDArray[np.float32], count: int) -> "PrincipalAxes":
        """The first ``count`` principal axes of (n, m) embeddings, n being m or more."""
        mean = embeddings.mean(axis=0, dtype=np.float64)
        _, lengths, rows = np.linalg.svd(embeddings - mean, full_matrices=False)
        variances = lengths**2
        return cls(
            mean.astype(np.float32), rows[:count].T.astype(np.float32), float(variances[:count].sum() / variances.sum())
        )


def join(
    networks: Sequence[Path],
    crops: NDArray[np.uint8],
    output: Path,
    on_progress: Callable[[int, int], None] = lambda _, __: None,
) -> float:
    """Write several exported networks as one, with the input and the embedding size of each.

    Args:
        networks: two or more ONNX files that ``mien export`` or ``mien quantise`` wrote.
        crops: (n, 48, 48) uint8 training faces, of which up to ``AXES_FACES`` are used.
        output: the ONNX file to write.
        on_progress: called with the number of faces embedded by one of the networks, and their total.

    Returns:
        The share of the variance of the concatenated embeddings that the joint embedding keeps.

    Raises:
        ConfigError: there are fewer than two networks, or they do not fit together.
        DatasetError: there are fewer faces than dimensions of the concatenated embeddings.
        EmbedderError: a file is no exported network, or the joint network does not compute what its members do.
    """
    if len(networks) < 2:
        raise ConfigError(f"a joint network needs two networks or more, got {len(networks)}")
    members = [Embedder(path, provider="cpu") for path in networks]
    graphs = [onnx.load(path) for path in networks]
    _check_fit(networks, members, graphs)
    chosen = crops[:: max(1, len(crops) // AXES_FACES)][:AXES_FACES]
    dimensions = sum(member.embedding_size for member in members)
    if len(chosen) < dimensions:
        raise DatasetError(
            f"a joint network needs as many faces as its members have dimensions together, got {len(chosen)} faces for "
            f"{dimensions} dimensions"
        )
    scales = [1 / (member.sigma * len(members) ** 0.5) for member in members]
    parts = [member.embed(chosen, on_progress) * scale for member, scale in zip(members, scales, strict=True)]
    concatenated = np.concatenate(parts, axis=1)
    axes = PrincipalAxes.of(concatenated, members[0].embedding_size)
    joint = joint_graph(graphs, scales, axes)
    replace_metadata(joint, METADATA_KEY, joint_metadata([member.metadata for member in members]).model_dump_json())
    onnx.checker.check_model(joint)
    with write_atomically(output) as file:
        file.write(joint.SerializeToString())
        file.flush()
        difference = np.abs(
            Embedder(Path(file.name), provider="cpu").embed(chosen[:64]) - (concatenated[:64] - axes.mean) @ axes.axes
        ).max()
        if not difference <= PARITY_TOLERANCE:
            raise EmbedderError(
                f"the joint network must compute what its members do within {PARITY_TOLERANCE}, got {difference:.1e}"
            )
    return axes.kept


def joint_graph(networks: Sequence[onnx.ModelProto], scales: Sequence[float], axes: PrincipalAxes) -> onnx.ModelProto:
    """The networks in one graph, with one input ``crops`` and one output ``embeddings``.

    Args:
        networks: each with one input and one output.
        scales: what each network's embedding is multiplied by.
        axes: of the concatenated embeddings.
    """
    nodes, initializers, outputs = [], [], []
    for number, (network, scale) in enumerate(zip(networks, scales, strict=True)):
        prefixed = compose.add_prefix(network, f"member{number}/").graph
        own, embedding = prefixed.input[0].name, prefixed.output[0].name
        for node in prefixed.node:
            node.input[:] = ["crops" if name == own else name for name in node.input]
        nodes += prefixed.node
        initializers += [
            *prefixed.initializer,
            numpy_helper.from_array(np.array(scale, dtype=np.float32), f"member{number}/scale"),
        ]
        outputs.append(f"member{number}/scaled")
        nodes.append(helper.make_node("Mul", [embedding, f"member{number}/scale"], outputs[-1:]))
    initializers += [numpy_helper.from_array(axes.mean, "mean"), numpy_helper.from_array(axes.axes, "axes")]
    nodes += [
        helper.make_node("Concat", outputs, ["concatenated"], axis=1),
        helper.make_node("Sub", ["concatenated", "mean"], ["centred"]),
        helper.make_node("MatMul", ["centred", "axes"], ["embeddings"]),
    ]
    crop_shape = [each.dim_value or "n" for each in networks[0].graph.input[0].type.tensor_type.shape.dim]
    graph = helper.make_graph(
        nodes,
        "joint",
        [helper.make_tensor_value_info("crops", TensorProto.UINT8, crop_shape)],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["n", axes.axes.shape[1]])],
        initializers,
    )
    versions = {each.domain: each.version for network in networks for each in network.opset_import}
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid(domain, number) for domain, number in versions.items()],
        ir_version=max(network.ir_version for network in networks),
    )


def joint_metadata(members: Sequence[EmbedderMetadata]) -> EmbedderMetadata:
    """The metadata of a joint network; the training settings are those of each member, in order."""
    first = members[0]
    graphs = [member.preprocessing.get("inside_the_graph", "") for member in members]
    return first.model_copy(
        update={
            "sigma": 1.0,
            "mirror": all(member.mirror for member in members),
            "preprocessing": first.preprocessing | {"inside_the_graph": "; and ".join(dict.fromkeys(graphs))},
            "training": {"members": [member.training for member in members]},
            "checkpoints": sum(member.checkpoints for member in members),
        }
    )


def _check_fit(networks: Sequence[Path], members: Sequence[Embedder], graphs: Sequence[onnx.ModelProto]) -> None:
    """Raise an error unless all members have the same crops, emotions, embedding size, precision, and operators."""
    for name in ("side_px", "emotions", "embedding_size", "precision"):
        values = {str(path): getattr(member.metadata, name) for path, member in zip(networks, members, strict=True)}
        if len(set(values.values())) > 1:
            raise ConfigError(
                f"the networks of a joint network must have the same {name}, got "
                + ", ".join(f"{value} in {path}" for path, value in values.items())
            )
    versions = {(operators.domain, operators.version) for graph in graphs for operators in graph.opset_import}
    if len({domain for domain, _ in versions}) < len(versions):
        raise ConfigError(
            f"the networks of a joint network must have the same versions of operators, got {sorted(versions)}"
        )
