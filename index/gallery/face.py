"""A face of a gallery."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class GalleryFace:
    """A face of a gallery. Two are the same face if they have the same id.

    Attributes:
        id: unique in the gallery; see ``mien.index.gallery.validation`` for what it may consist of.
        embedding: (d,) float32, finite.
        label: the emotion that the owner says it shows.
        emotion: the emotion that the mixture named when it was added.
        sub_class: the sub-class that the mixture named, such as ``happiness/2``.
        subject: the person.
        metadata: whatever the owner gave with it, JSON values.
        content_sha256: of the picture it came from, hexadecimal.
        time: when it was taken or added, seconds since 1970 (UTC); None on adding takes the present.
        thumbnail: a small picture of it, as an image file.
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

    def same_content(self, stored: "GalleryFace") -> bool:
        """Whether adding this face over ``stored`` would change nothing that the owner gave.

        Of two faces of the same picture the embeddings are not compared: the same network rounds differently on
        another processor. A time that was not given agrees with any.
        """
        same_picture = self.content_sha256 is not None and self.content_sha256 == stored.content_sha256
        return (
            self.content_sha256 == stored.content_sha256
            and (same_picture or np.array_equal(self.embedding, stored.embedding))
            and (self.label, self.subject) == (stored.label, stored.subject)
            and (self.time is None or self.time == stored.time)
            and self.metadata == stored.metadata
        )
