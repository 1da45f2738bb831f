"""The embedding space of a bundle with the faces of a gallery in it: its map and its atlas."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.index.bundle.bundle import Bundle
from mien.index.gallery.results import Sample
from mien.index.gallery.store import GalleryStore
from mien.index.views.atlas import Region, emotion_regions, regions_in, sub_class_regions
from mien.index.views.map import Ellipse, FlatView, ellipse, flat_view, sample_emotions

MAX_POINTS: Final = 30_000
"""Faces of a map: all of the gallery that ships, a sample of a larger one."""


@dataclass(frozen=True)
class SpaceMap:
    """The space in two dimensions.

    Attributes:
        view: the projection.
        emotions: the Gaussian of each emotion, in the order of the mixture.
        sub_classes: the Gaussian of each sub-class.
        sub_class_names: the id of each sub-class that has a name to that name.
        sample: faces of the gallery.
        places: (n, 2) float64, of the sample.
        sample_emotions: (n,) indices into ``emotions``.
    """

    view: FlatView
    emotions: dict[str, Ellipse]
    sub_classes: dict[str, Ellipse]
    sub_class_names: Mapping[str, str]
    sample: Sample
    places: NDArray[np.float64]
    sample_emotions: list[int]


@dataclass(frozen=True)
class SpaceAtlas:
    """Every emotion and sub-class.

    Attributes:
        faces: of the gallery.
        emotions: in the order of the mixture.
        sub_classes: empty where the bundle has none.
    """

    faces: int
    emotions: Sequence[Region]
    sub_classes: Sequence[Region]


class Space:
    """A bundle's space and a gallery in it. Thread-safe.

    Attributes:
        bundle: has the mixture.
        gallery: has the faces.
    """

    def __init__(self, bundle: Bundle, gallery: GalleryStore) -> None:
        self.bundle = bundle
        self.gallery = gallery

    def version(self) -> int:
        """A number that changes when the gallery may have changed.

        Raises:
            GalleryError: the gallery fails.
        """
        return self.gallery.listing(1).snapshot

    def map(self) -> SpaceMap:
        """The map, as of now.

        Raises:
            GalleryError: the gallery fails.
        """
        view = flat_view(self.bundle.mixture)
        sample = self.gallery.sample(MAX_POINTS)
        emotions, sub_classes = (
            {region.id: ellipse(view, region.centroid, region.covariance) for region in regions}
            for regions in (self._emotions, self._sub_classes)
        )
        return SpaceMap(
            view=view,
            emotions=emotions,
            sub_classes=sub_classes,
            sub_class_names=self.bundle.sub_class_names,
            sample=sample,
            places=view.project(sample.embeddings),
            sample_emotions=sample_emotions(self.bundle.mixture, sample),
        )

    def atlas(self) -> SpaceAtlas:
        """The atlas, as of now.

        Raises:
            GalleryError: the gallery fails.
        """
        emotions, sub_classes = (regions_in(each, self.gallery) for each in (self._emotions, self._sub_classes))
        return SpaceAtlas(self.gallery.count(), emotions, sub_classes)

    @cached_property
    def _emotions(self) -> list[Region]:
        return emotion_regions(self.bundle)

    @cached_property
    def _sub_classes(self) -> list[Region]:
        return sub_class_regions(self.bundle)
