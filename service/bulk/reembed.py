"""A gallery for another network: its faces embedded again, out of thumbnails or original images."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.index.bundle.bundle import Bundle
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.store import GalleryStore, every_face
from mien.index.mixture.labelling import label_points
from mien.model.errors import ImageError
from mien.model.faces.decoding import read_file
from mien.model.faces.thumbnail import crop_of_thumbnail
from mien.model.pipeline import Pipeline
from mien.service.inference.gallery_additions import image_and_number

_FACES_AT_ONCE: Final = 128


@dataclass(frozen=True)
class CropSource:
    """Finds the aligned crops of a gallery's faces again.

    Attributes:
        gallery: with thumbnails of the faces for which they were kept.
        pipeline: of the new network.
        originals: the folder of the original images, where an id is a path; None if there is none.
        already_cropped: the originals are face crops.
    """

    gallery: GalleryStore
    pipeline: Pipeline
    originals: Path | None
    already_cropped: bool

    def crop_of(self, face: GalleryFace, thumbnail: bytes | None) -> NDArray[np.uint8] | str:
        """The crop of a face, (side, side) uint8, or why there is none.

        It is cut out of the original where that is there, else it is made of the thumbnail, which has lost some detail.
        """
        if self.originals is not None:
            crop = self._crop_of_original(self.originals, face)
            if not isinstance(crop, str) or thumbnail is None:
                return crop
        if thumbnail is None:
            return "it has no thumbnail, and there is no folder of originals"
        try:
            return crop_of_thumbnail(thumbnail, self.pipeline.embedder.side_px)
        except ImageError as error:
            return str(error)

    def _crop_of_original(self, folder: Path, face: GalleryFace) -> NDArray[np.uint8] | str:
        name, number = image_and_number(face.id)
        path = folder / name
        try:
            data = read_file(path, self.pipeline.limits)
            if face.content_sha256 not in (None, hashlib.sha256(data).hexdigest()):
                return f"{path} is not the image that it came from"
            faces = self.pipeline.read_faces(data, already_cropped=self.already_cropped)
        except ImageError as error:
            return str(error)
        except OSError as error:
            return f"{path}: {error.strerror or error}"
        return (
            faces[number - 1].crop if number <= len(faces) else f"{path} has {len(faces)} faces, it was number {number}"
        )


def re_embed(
    source: CropSource, bundle: Bundle, target: GalleryStore, on_progress: Callable[[int], object]
) -> list[tuple[str, str]]:
    """Add every face of a gallery to another, with the embedding of another network.

    Faces that the target has already are skipped, so that a run that was interrupted continues.

    Args:
        source: of the crops.
        bundle: of the new network; labels the faces.
        target: the gallery of the new network.
        on_progress: called after each batch with its number of faces.

    Returns:
        Id and reason of each face that is left out.

    Raises:
        GalleryError: a gallery fails.
    """
    left_out: list[tuple[str, str]] = []
    faces = every_face(source.gallery)
    while batch := list(islice(faces, _FACES_AT_ONCE)):
        done = target.get_many([face.id for face in batch])
        missing = [face for face in batch if face.id not in done]
        thumbnails = source.gallery.thumbnails([face.id for face in missing])
        crops = [(face, source.crop_of(face, thumbnails.get(face.id))) for face in missing]
        left_out += [(face.id, crop) for face, crop in crops if isinstance(crop, str)]
        found = [(face, crop) for face, crop in crops if not isinstance(crop, str)]
        if found:
            embeddings = source.pipeline.embedder.embed(np.stack([crop for _, crop in found]))
            labels = label_points(bundle.mixture, bundle.sub_classes, embeddings)
            target.add(
                [
                    replace(
                        face,
                        embedding=embedding,
                        emotion=emotion,
                        sub_class=sub_class,
                        thumbnail=thumbnails.get(face.id),
                    )
                    for (face, _), embedding, (emotion, sub_class) in zip(found, embeddings, labels, strict=True)
                ]
            )
        on_progress(len(batch))
    return left_out
