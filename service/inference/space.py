"""What the page and the plots show of the space: its map, its atlas, and portraits of its points.

The space is the bundle's; the faces in it are those of the gallery that is served. What follows from the bundle is
worked out once, what follows from an owner's gallery again when that has changed.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.index.bundle.bundle import Bundle
from mien.index.errors import QueryError
from mien.index.gallery.store import GalleryStore
from mien.index.views.atlas import Region, emotion_regions, regions_in, sub_class_regions
from mien.index.views.map import FlatView, ellipse, flat_view, sample_emotions
from mien.index.views.portraits import load_painter
from mien.model.portraits.painter import PortraitPainter
from mien.service.routes.cached_json import CachedJson, RefreshingCache
from mien.service.schemas.map import Atlas, AtlasRegion, MapAnswer, MapRegion, NearestFace
from mien.service.schemas.queries import Query, point_of

MAX_PORTRAITS: Final = 4096
"""Portraits that are kept painted: 9 MiB."""

MAP_DECIMALS: Final = 3


MAX_POINTS: Final = 30_000
"""Faces of a map: the gallery that ships is shown whole, a larger one by a sample."""


class Space:
    """A bundle's space and a gallery in it, as they are shown. Thread-safe."""

    def __init__(self, bundle: Bundle, gallery: GalleryStore) -> None:
        """Show ``bundle``.

        Args:
            bundle: whose space it is.
            gallery: whose faces are shown.

        Raises:
            BundleError: its portraits belong to another network.
        """
        self.bundle = bundle
        self.gallery = gallery
        self._map = RefreshingCache(self._mapped, self._version)
        self._atlas = RefreshingCache(self._described_all, self._version)
        self._painter = load_painter(bundle)
        self._painted: OrderedDict[bytes, NDArray[np.uint8]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def has_portraits(self) -> bool:
        """Whether the bundle brings what paints them."""
        return self._painter is not None

    def paint(self, embeddings: NDArray[np.float32]) -> NDArray[np.uint8]:
        """(n, side, side) uint8 portraits of (n, d) embeddings.

        Raises:
            QueryError: the bundle has no portraits.
        """
        painter = self._portrait_painter()
        keys = [row.tobytes() for row in embeddings]
        with self._lock:
            known = {key: self._painted[key] for key in keys if key in self._painted}
            for key in known:
                self._painted.move_to_end(key)
        missing = {key: row for key, row in zip(keys, embeddings, strict=True) if key not in known}
        if missing:
            faces = painter.paint(np.stack(list(missing.values())))
            known |= dict(zip(missing, faces, strict=True))
            with self._lock:
                self._painted.update({key: known[key] for key in missing})
                while len(self._painted) > MAX_PORTRAITS:
                    self._painted.popitem(last=False)
        return np.stack([known[key] for key in keys])

    def painted(self, queries: Sequence[Query], side_px: int | None = None) -> bytes:
        """A PNG file with the portraits of points under one another, each as large as ``side_px`` asks.

        Args:
            queries: which points.
            side_px: of each; None leaves them as they are painted.

        Raises:
            QueryError: the bundle has no portraits, or a query names nothing that it has.
        """
        faces = self.paint(np.stack([point_of(query, self.bundle, self.gallery) for query in queries]))
        side = faces.shape[1]
        picture = Image.fromarray(faces.reshape(-1, side))
        if side_px is not None and side_px != side:
            scaled = [Image.fromarray(face).resize((side_px, side_px), Image.Resampling.BICUBIC) for face in faces]
            picture = Image.fromarray(np.concatenate([np.asarray(face) for face in scaled]))
        buffer = BytesIO()
        picture.save(buffer, "PNG")
        return buffer.getvalue()

    def map(self) -> CachedJson:
        """The map.

        Raises:
            GalleryError: the gallery fails.
        """
        return self._map.get()

    def atlas(self) -> CachedJson:
        """The atlas.

        Raises:
            GalleryError: the gallery fails.
        """
        return self._atlas.get()

    def _version(self) -> int:
        """A number that changes when what is shown may have changed."""
        return self.gallery.listing(1).snapshot

    def _mapped(self) -> CachedJson:
        view, sample = self._view, self.gallery.sample(MAX_POINTS)
        places = view.project(sample.embeddings).round(MAP_DECIMALS)
        return CachedJson(
            MapAnswer(
                middle=view.middle.tolist(),
                axes=view.axes.tolist(),
                emotions=[self._shown(region) for region in self._emotions],
                sub_classes=[self._shown(region) for region in self._sub_classes],
                faces=sample.faces,
                owned=not self.gallery.read_only,
                ids=list(sample.ids),
                x=places[:, 0].tolist(),
                y=places[:, 1].tolist(),
                emotion=sample_emotions(self.bundle.mixture, sample),
            )
        )

    def _described_all(self) -> CachedJson:
        emotions, sub_classes = self._emotions, self._sub_classes
        if not self.gallery.read_only:
            emotions, sub_classes = regions_in(emotions, self.gallery), regions_in(sub_classes, self.gallery)
        return CachedJson(
            Atlas(
                faces=self.gallery.count(),
                owned=not self.gallery.read_only,
                portraits=self.has_portraits,
                emotions=[
                    self._described(
                        region,
                        [self._described(part, []) for part in sub_classes if part.emotion == region.emotion],
                    )
                    for region in emotions
                ],
            )
        )

    @cached_property
    def _view(self) -> FlatView:
        return flat_view(self.bundle.mixture)

    @cached_property
    def _emotions(self) -> list[Region]:
        return emotion_regions(self.bundle)

    @cached_property
    def _sub_classes(self) -> list[Region]:
        return sub_class_regions(self.bundle)

    def _shown(self, region: Region) -> MapRegion:
        shape = ellipse(self._view, region.centroid, region.covariance)
        return MapRegion(id=region.id, x=shape.x, y=shape.y, long=shape.long, short=shape.short, turn=shape.turn)

    def _described(self, region: Region, sub_classes: list[AtlasRegion]) -> AtlasRegion:
        return AtlasRegion(
            id=region.id,
            faces=region.faces,
            share=region.share,
            votes=region.votes,
            nearest=[NearestFace(id=face.id, distance=face.distance) for face in region.nearest],
            sub_classes=sub_classes,
        )

    def _portrait_painter(self) -> PortraitPainter:
        if self._painter is None:
            raise QueryError("the bundle that is served has no portraits: mien portraits makes them")
        return self._painter
