"""``mien embed``: the faces of many images in one NumPy archive."""

import argparse
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from mien.model.errors import ConfigError, ImageError, reason_of
from mien.model.faces.decoding import DecodingLimits, read_file
from mien.model.files import files_below, write_atomically
from mien.service.commands.arguments import add_bundle_option
from mien.service.commands.options import add_config_options, read_options
from mien.service.commands.terminal import console, progress_bar

if TYPE_CHECKING:
    from mien.index.mixture.mixture import Mixture
    from mien.model.faces.reader import Face
    from mien.model.pipeline import Pipeline

_FILES_AT_ONCE: Final = 64


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
    from mien.index.bundle.bundle import check_fits, load_bundle
    from mien.index.bundle.manifest import EMBEDDER
    from mien.model.pipeline import load_pipeline

    output: Path = arguments.output
    if output.exists() and not output.is_file():
        raise ConfigError(f"--output must be a file, got {output}")
    output.parent.mkdir(parents=True, exist_ok=True)
    bundle = load_bundle(arguments.bundle)
    pipeline = load_pipeline(bundle.embedder_path, limits=read_options(arguments, DecodingLimits))
    check_fits(bundle, pipeline.embedder)
    files = [file for path in arguments.paths for file in files_below(path)]
    files = [file for file in files if not (output.exists() and file.exists() and file.samefile(output))]
    with progress_bar() as bar:
        task = bar.add_task("embedding", total=len(files), note="")
        embedded = _embed_files(
            pipeline,
            files,
            already_cropped=arguments.already_cropped,
            on_progress=lambda count: bar.advance(task, count),
        )
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


def _embed_files(
    pipeline: "Pipeline",
    files: Sequence[Path],
    *,
    already_cropped: bool,
    on_progress: Callable[[int], object],
) -> _EmbeddedFiles:
    """Embed the faces of all files that can be read; memory grows only with the result."""
    embedded = _EmbeddedFiles()

    def find(path: Path) -> "list[Face] | str":
        try:
            return pipeline.read_faces(read_file(path, pipeline.limits), already_cropped=already_cropped)
        except (ImageError, OSError) as error:
            return reason_of(error)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for start in range(0, len(files), _FILES_AT_ONCE):
            batch = files[start : start + _FILES_AT_ONCE]
            faces: list[Face] = []
            for path, found in zip(batch, threads.map(find, batch), strict=True):
                if isinstance(found, str):
                    embedded.unreadable.append((path, found))
                    continue
                embedded.paths.extend([str(path)] * len(found))
                embedded.boxes.extend(face.box for face in found)
                faces.extend(found)
            if faces:
                embedded.embeddings.append(pipeline.embed(faces))
            on_progress(len(batch))
    return embedded
