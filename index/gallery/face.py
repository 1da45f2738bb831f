"""A face of a gallery."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class GalleryFace:
    """A face of a gallery; ``mien.index.gallery.validation`` says what each field may be.

    Attributes:
        id: unique in the gallery.
        embedding: (d,) float32, finite.
        label: the emotion that the user gives it.
        emotion: the emotion that the mixture gave it when it was added.
        sub_class: the sub-class that the mixture gave it, such as ``happiness/2``.
        subject: the person.
        metadata: any JSON values.
        content_sha256: of the image file that it came from, hexadecimal.
        time: when it was photographed or added, seconds since 1970 (UTC); None means the time of the addition.
        thumbnail: a small image of it, as an image file; read only where it is needed.
        has_thumbnail: whether the gallery keeps a thumbnail of it, which may not be read.
        sequence: the snapshot number from which on it is in the gallery, set by the gallery.
    """

    id: str
    embedding: NDArray[np.float32]
    label: str | None = None
    emotion: str | None = None
    sub_class: str | None = None
    subject: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    content_sha256: str | None = None
    time: float | None = None
    thumbnail: bytes | None = None
    sequence: int = 0
    has_thumbnail: bool = False

    def __post_init__(self) -> None:
        if self.thumbnail is not None:
            object.__setattr__(self, "has_thumbnail", True)

    def same_content(self, stored: "GalleryFace") -> bool:
        """Whether adding this face over ``stored`` would change nothing that the user gave.

        The embeddings of two faces of the same image are not compared: the same network rounds differently on another
        processor. A missing time equals any.
        """
        same_image = self.content_sha256 is not None and self.content_sha256 == stored.content_sha256
        return (
            self.content_sha256 == stored.content_sha256
            and (same_image or np.array_equal(self.embedding, stored.embedding))
            and (self.label, self.subject) == (stored.label, stored.subject)
            and (self.time is None or self.time == stored.time)
            and self.metadata == stored.metadata
        )
