"""``mien embed``: the faces of many images into one NumPy archive."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.index.bundle.bundle import check_fits, load_bundle
from mien.index.bundle.manifest import EMBEDDER
from mien.index.mixture.mixture import Mixture
from mien.model.errors import ConfigError, ImageError
from mien.model.faces.decoding import DecodingLimits, read_file
from mien.model.faces.reader import Face
from mien.model.files import files_below, written_whole
from mien.model.pipeline import Pipeline, load_pipeline
from mien.service.commands.terminal import console, progress_bar

_FILES_AT_ONCE: Final = 64


@dataclass
class EmbeddedFiles:
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

    def save(self, path: Path, mixture: Mixture, embedder_sha256: str) -> None:
        """Write the archive, whole or not at all.

        Beside the faces are posteriors (n, c) float32 and emotions (n,), and the hash of the network.
        """
        embeddings = np.concatenate(self.embeddings or [np.empty((0, mixture.centroids.shape[1]), np.float32)])
        posteriors = mixture.posterior(embeddings).astype(np.float32)
        with written_whole(path) as file:
            np.savez(
                file,
                paths=np.array(self.paths, dtype=np.str_),
                boxes=np.array(self.boxes, dtype=np.float32).reshape(-1, 4),
                embeddings=embeddings,
                posteriors=posteriors,
                emotions=np.array(mixture.emotions)[posteriors.argmax(axis=1)],
                embedder_sha256=np.array(embedder_sha256),
            )


def embed_paths(
    paths: Sequence[Path], output: Path, bundle_folder: Path, limits: DecodingLimits, *, already_cropped: bool
) -> int:
    """``mien embed``: 0 when a face was embedded, else 1.

    Raises:
        ConfigError: the output cannot be a file.
        BundleError: the bundle cannot be used.
    """
    if output.exists() and not output.is_file():
        raise ConfigError(f"--output should be a file, {output} is none")
    output.parent.mkdir(parents=True, exist_ok=True)
    bundle = load_bundle(bundle_folder)
    pipeline = load_pipeline(bundle.embedder_path, limits=limits)
    check_fits(bundle, pipeline.embedder)
    files = [path for path in files_of(paths) if not (output.exists() and path.exists() and path.samefile(output))]
    with progress_bar() as bar:
        task = bar.add_task("embedding", total=len(files), note="")
        embedded = embed_files(
            pipeline, files, already_cropped=already_cropped, on_progress=lambda count: bar.advance(task, count)
        )
    embedded.save(output, bundle.mixture, bundle.manifest.sha256[EMBEDDER])
    for path, reason in embedded.unreadable:
        console.print(f"left out {path}: {reason}", markup=False)
    console.print(
        f"{output}: {len(embedded.paths)} faces of {len(files) - len(embedded.unreadable)} files; "
        f"{len(embedded.unreadable)} files left out",
        markup=False,
    )
    return 0 if embedded.paths else 1


def files_of(paths: Sequence[Path]) -> Iterator[Path]:
    """Each path that is no folder, and every file below each that is one, in sorted order, but for hidden ones.

    Links are followed; a folder that was seen already, through whatever link, is not entered again.
    """
    for path in paths:
        yield from files_below(path)


def embed_files(
    pipeline: Pipeline,
    files: Sequence[Path],
    *,
    already_cropped: bool,
    on_progress: Callable[[int], object] = lambda _: None,
) -> EmbeddedFiles:
    """Embed the faces of all files that can be read; memory does not grow with their number but for the result."""
    embedded = EmbeddedFiles()

    def find(path: Path) -> list[Face] | str:
        try:
            return pipeline.read_faces(read_file(path, pipeline.limits), already_cropped=already_cropped)
        except (ImageError, OSError) as error:
            return error.strerror or str(error) if isinstance(error, OSError) else str(error)

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
