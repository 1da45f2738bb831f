"""The one way from the bytes of an image to the embeddings of its faces.

Training's validation, the index, the command line and HTTP all come through here or through its parts, so that
they cannot drift apart.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from mien.model.embedder.embedder import Embedder
from mien.model.embedder.provider import Provider
from mien.model.errors import NoFaceError
from mien.model.faces.decoding import DEFAULT_LIMITS, DecodingLimits, decode, decode_grey, decode_reduced
from mien.model.faces.detection import Detector
from mien.model.faces.finder import Face, FaceFinder

ENOUGH_PX: Final = 1920
"""The longer side down to which a photograph may be decoded at a fraction of its size.

Half as much again as the detector's finest level, so that its pixels are still averages of several.
"""

SMALL_FACE_PX: Final = 60
"""A photograph with a narrower face than this at the fraction, or with none, is decoded whole: the crop would show it.

In photographs of 12 and 24 megapixels, embeddings of larger faces moved by 0.02 to 0.05 (medians; at most 0.19), those
of smaller ones by up to 0.9.
"""

Stage = Literal["decode", "detect"]


@dataclass(frozen=True)
class EmbeddedFaces:
    """The faces of one image, largest first.

    Attributes:
        faces: (n,) where they are.
        embeddings: (n, d) float32.
    """

    faces: tuple[Face, ...]
    embeddings: NDArray[np.float32]


class FaceReader:
    """Decode, detect and align: what needs no embedder, and is done by other machines where several share the work.

    Thread-safe: one reader serves all threads of a process.
    """

    def __init__(self, finder: FaceFinder, limits: DecodingLimits, max_faces: int | None) -> None:
        """Put the parts together.

        Args:
            finder: finds and aligns faces.
            limits: of an image.
            max_faces: the largest faces of an image that are taken, the rest are left out; None takes all.
        """
        self.finder = finder
        self.limits = limits
        self.max_faces = max_faces

    def faces(self, image: NDArray[np.uint8], *, already_cropped: bool = False) -> list[Face]:
        """Find the faces of a decoded image.

        Args:
            image: (h, w, 3) uint8 RGB, upright, as ``decode`` and ``read_image`` give it; of a face crop its grey
                levels (h, w) will do.
            already_cropped: the whole image is one face; nothing is detected.

        Returns:
            The faces, largest first: at least one and at most ``max_faces``.

        Raises:
            NoFaceError: there is none.
        """
        if already_cropped:
            return [self.finder.whole(image)]
        found = self.finder.find(image, self.max_faces)
        if not found:
            raise NoFaceError(
                f"no face was found in the image of {image.shape[1]}x{image.shape[0]} pixels; "
                "if the image is a face crop, say already_cropped"
            )
        return found

    def find(
        self,
        data: bytes,
        *,
        already_cropped: bool = False,
        timed: Callable[[Stage], AbstractContextManager[None]] = lambda _: nullcontext(),
    ) -> list[Face]:
        """Decode an image file and find its faces as ``faces`` does.

        A large JPEG photograph is decoded at a fraction of its size, where that shows in no face; of an image that is
        one face already, its grey levels alone.

        Args:
            data: the whole file.
            already_cropped: the whole image is one face.
            timed: entered around each stage.

        Returns:
            The faces, largest first; boxes in pixels of the file's picture.

        Raises:
            ImageError: the image cannot be used, or has no face.
        """
        if already_cropped:
            with timed("decode"):
                return [self.finder.whole(decode_grey(data, self.limits))]
        with timed("decode"):
            image, factor = decode_reduced(data, self.limits, ENOUGH_PX)
        if factor > 1:
            with timed("detect"):
                found = self.finder.find(image, self.max_faces)
            if found and min(face.box[2] for face in found) >= SMALL_FACE_PX:
                return [face.grown(factor) for face in found]
            with timed("decode"):
                image = decode(data, self.limits)
        with timed("detect"):
            return self.faces(image)


class Pipeline(FaceReader):
    """Decode, detect, align and embed.

    Thread-safe: one pipeline serves all threads of a process.
    """

    def __init__(self, finder: FaceFinder, embedder: Embedder, limits: DecodingLimits, max_faces: int | None) -> None:
        """Put the parts together.

        Args:
            finder: finds and aligns faces.
            embedder: embeds their crops.
            limits: of an image.
            max_faces: the largest faces of an image that are embedded, the rest are left out; None takes all.
        """
        super().__init__(finder, limits, max_faces)
        self.embedder = embedder

    def embed(self, data: bytes, *, already_cropped: bool = False) -> EmbeddedFaces:
        """Find the faces of an image file as ``find`` does, and embed them.

        Raises:
            ImageError: the image cannot be used, or has no face.
        """
        found = self.find(data, already_cropped=already_cropped)
        return EmbeddedFaces(tuple(found), self.embedder.embed(np.stack([face.crop for face in found])))


def load_pipeline(
    embedder: Path,
    *,
    detector: Path | None = None,
    limits: DecodingLimits = DEFAULT_LIMITS,
    max_faces: int | None = None,
    threads: int = 0,
    provider: Provider = "auto",
) -> Pipeline:
    """Load a pipeline from its files.

    Args:
        embedder: the exported network.
        detector: YuNet's ONNX file; None takes the one that mien carries.
        limits: of an image.
        max_faces: of an image; None takes all.
        threads: of the embedder; 0 leaves the choice to ONNX Runtime.
        provider: where the network runs.

    Raises:
        ArtifactError: a file is missing or broken.
        ConfigError: the GPU is required and cannot be used.
    """
    return Pipeline(
        FaceFinder(Detector(detector)), Embedder(embedder, threads=threads, provider=provider), limits, max_faces
    )
