"""``mien gallery re-embed``: a gallery for another network, out of the thumbnails or originals of an old one."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.index.bundle.bundle import Bundle, check_fits, load_bundle
from mien.index.bundle.manifest import EMBEDDER
from mien.index.errors import GalleryError, UnknownFaceError
from mien.index.gallery.embedded.folder import network_of
from mien.index.gallery.embedded.gallery import open_embedded_gallery
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.store import GalleryStore, every_face
from mien.index.mixture.labelling import label_points
from mien.model.errors import ImageError
from mien.model.faces.decoding import read_file
from mien.model.pipeline import Pipeline, load_pipeline
from mien.service.commands.terminal import console, progress_bar

_AT_ONCE: Final = 128
_SHOWN: Final = 10


@dataclass(frozen=True)
class Crops:
    """Where the aligned crop of a face is found again.

    Attributes:
        source: the old gallery, with thumbnails where they were kept.
        pipeline: of the new network.
        originals: the folder that ids are paths in, where the pictures are at hand.
        already_cropped: the originals are face crops.
    """

    source: GalleryStore
    pipeline: Pipeline
    originals: Path | None
    already_cropped: bool

    def of(self, face: GalleryFace) -> NDArray[np.uint8] | str:
        """(side, side) uint8, or why there is none."""
        thumbnail = self.source.get(face.id).thumbnail
        if thumbnail is not None:
            crop = np.asarray(Image.open(BytesIO(thumbnail)).convert("L"), dtype=np.uint8)
            side = self.pipeline.embedder.side_px
            return crop if crop.shape == (side, side) else f"its thumbnail is {crop.shape}, wanted are {side} pixels"
        if self.originals is None:
            return "it has no thumbnail, and no originals are at hand"
        try:
            data = read_file(self.originals / face.id, self.pipeline.limits)
            if face.content_sha256 not in (None, hashlib.sha256(data).hexdigest()):
                return f"{self.originals / face.id} is another picture than it came from"
            return self.pipeline.read_faces(data, already_cropped=self.already_cropped)[0].crop
        except ImageError as error:
            return str(error)
        except OSError as error:
            return f"{self.originals / face.id}: {error.strerror or error}"


def re_embed_gallery(
    folder: Path, output: Path, bundle_folder: Path, *, originals: Path | None = None, already_cropped: bool = False
) -> int:
    """Write a gallery for the bundle's network; 0 when every face is in it, else 1.

    A run that was interrupted goes on: faces that are in the new gallery are passed over.

    Args:
        folder: of the old gallery, which stays as it is.
        output: folder of the new one.
        bundle_folder: of the bundle with the new network.
        originals: the folder that ids are paths in.
        already_cropped: the originals are face crops.

    Raises:
        GalleryError: a gallery cannot be used.
        BundleError: the bundle cannot be used.
    """
    bundle = load_bundle(bundle_folder)
    sha256, size = network_of(folder)
    if sha256 == bundle.manifest.sha256[EMBEDDER]:
        raise GalleryError(f"{folder} was made by the network of {bundle_folder} already: there is nothing to do")
    pipeline = load_pipeline(bundle.embedder_path, max_faces=1)
    check_fits(bundle, pipeline.embedder)
    source = open_embedded_gallery(folder, size, sha256)
    try:
        target = open_embedded_gallery(output, pipeline.embedder.embedding_size, bundle.manifest.sha256[EMBEDDER])
        try:
            crops = Crops(source, pipeline, originals, already_cropped)
            with progress_bar() as bar:
                task = bar.add_task("embedding anew", total=source.count(), note="")
                skipped = []
                for done, left_out in _re_embedded(crops, bundle, target):
                    skipped += left_out
                    bar.advance(task, done)
            count = target.count()
        finally:
            target.close()
    finally:
        source.close()
    for face_id, reason in skipped[:_SHOWN]:
        console.print(f"left out {face_id}: {reason}", markup=False)
    console.print(f"{output}: {count} faces; {len(skipped)} left out", markup=False)
    return 1 if skipped else 0


def _re_embedded(crops: Crops, bundle: Bundle, target: GalleryStore) -> Iterator[tuple[int, list[tuple[str, str]]]]:
    """How many faces each batch had, and which of them were left out, and why."""
    faces = every_face(crops.source)
    while batch := list(islice(faces, _AT_ONCE)):
        left = [face for face in batch if not _is_there(face, target)]
        found = [(face, crops.of(face)) for face in left]
        whole = [(face, crop) for face, crop in found if not isinstance(crop, str)]
        if whole:
            embeddings = crops.pipeline.embedder.embed(np.stack([crop for _, crop in whole]))
            names = label_points(bundle.mixture, bundle.sub_classes, embeddings)
            target.add(
                [
                    replace(
                        face,
                        embedding=embedding,
                        emotion=emotion,
                        sub_class=sub_class,
                        thumbnail=crops.source.get(face.id).thumbnail,
                    )
                    for (face, _), embedding, (emotion, sub_class) in zip(whole, embeddings, names, strict=True)
                ]
            )
        yield len(batch), [(face.id, crop) for face, crop in found if isinstance(crop, str)]


def _is_there(face: GalleryFace, target: GalleryStore) -> bool:
    try:
        target.get(face.id)
    except UnknownFaceError:
        return False
    return True
