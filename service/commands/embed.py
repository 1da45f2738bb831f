"""``mien embed``: the faces of many images in one NumPy archive."""

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mien.model.errors import ConfigError, reason_of
from mien.model.faces.decoding import DecodingLimits
from mien.model.files import files_below, write_atomically
from mien.service.commands.arguments import add_bundle_option
from mien.service.commands.options import add_config_options, read_options
from mien.service.commands.terminal import console

if TYPE_CHECKING:
    from mien.index.mixture.mixture import Mixture
    from mien.service.local.client import LocalClient


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="Images, or folders of images.")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="Archive to write, such as faces.npz."
    )
    parser.add_argument("--already-cropped", action="store_true", help="The images are face crops: detect nothing.")
    add_bundle_option(parser)
    add_config_options(parser, DecodingLimits)


def run(arguments: argparse.Namespace) -> int:
    """Embed, and write the archive; 0 if there is a face, else 1."""
    from mien.index.bundle.manifest import EMBEDDER
    from mien.service.local.load import load

    output: Path = arguments.output
    if output.exists() and not output.is_file():
        raise ConfigError(f"--output must be a file, got {output}")
    output.parent.mkdir(parents=True, exist_ok=True)
    local = load(arguments.bundle, limits=read_options(arguments, DecodingLimits))
    files = [file for path in arguments.paths for file in files_below(path)]
    files = [file for file in files if not (output.exists() and file.exists() and file.samefile(output))]
    embedded = _embed_files(local, files, already_cropped=arguments.already_cropped)
    bundle = local.engine.bundle
    embedded.save(output, bundle.mixture, bundle.manifest.sha256[EMBEDDER])
    for path, reason in embedded.unreadable:
        console.print(f"left out {path}: {reason}")
    console.print(
        f"{output}: {len(embedded.paths)} faces of {len(files) - len(embedded.unreadable)} files; "
        f"{len(embedded.unreadable)} files left out"
    )
    return 0 if embedded.paths else 1


@dataclass
class _EmbeddedFiles:
    """The faces of many images, in the order of the files, and within a file largest first.

    Attributes:
        paths: (n,) the file of each face.
        boxes: (n, 4) float32, x, y, width and height in pixels of the upright image.
        embeddings: (n, d) float32.
        unreadable: file and reason, for each file that gave no face.
    """

    paths: list[str] = field(default_factory=list)
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)
    embeddings: list[NDArray[np.float32]] = field(default_factory=list)
    unreadable: list[tuple[Path, str]] = field(default_factory=list)

    def save(self, path: Path, mixture: "Mixture", embedder_sha256: str) -> None:
        """Write the archive, whole or not at all: also posteriors (n, c), emotions (n,) and the hash of the network."""
        embeddings = np.concatenate(self.embeddings or [np.empty((0, mixture.centroids.shape[1]), np.float32)])
        posteriors = mixture.posterior(embeddings).astype(np.float32)
        with write_atomically(path) as file:
            np.savez(
                file,
                paths=np.array(self.paths, dtype=np.str_),
                boxes=np.array(self.boxes, dtype=np.float32).reshape(-1, 4),
                embeddings=embeddings,
                posteriors=posteriors,
                emotions=np.array(mixture.emotions)[posteriors.argmax(axis=1)],
                embedder_sha256=np.array(embedder_sha256),
            )


def _embed_files(local: "LocalClient", files: list[Path], *, already_cropped: bool) -> _EmbeddedFiles:
    """Embed the faces of all files that can be read; memory grows only with the result."""
    from mien.service.inference.prediction import Prediction

    embedded = _EmbeddedFiles()
    predictions = local.predict_all(files, already_cropped=already_cropped, progress=True)
    for path, prediction in zip(files, predictions, strict=True):
        if not isinstance(prediction, Prediction):
            embedded.unreadable.append((path, reason_of(prediction)))
            continue
        embedded.paths.extend([str(path)] * len(prediction))
        embedded.boxes.extend(face.box for face in prediction.faces)
        embedded.embeddings.append(prediction.embeddings)
    return embedded
