"""What the page and the plots show of the space: its map, its atlas, and portraits of its points.

Each is worked out from a bundle once, on first use, and kept while that bundle is served.
"""

import hashlib
import threading
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel

from index.atlas import Region, emotions_of, sub_classes_of
from index.bundle import Bundle
from index.gallery_store import GalleryStore
from index.map import FlatView, ellipse, flat_view, shipped_places
from index.portraits import load_painter
from model.errors import QueryError
from model.portraits import PortraitPainter
from service.map_schemas import Atlas, AtlasRegion, MapAnswer, MapRegion, NearestFace
from service.queries import Query, point_of

KEPT_PORTRAITS: Final = 4096
"""Portraits that are kept painted: 9 MiB."""

MAP_DECIMALS: Final = 3


class Written:
    """An answer that stays the same while a bundle is served: written and compressed once."""

    def __init__(self, answer: BaseModel) -> None:
        self.plain = answer.model_dump_json().encode()
        packer = zlib.compressobj(6, zlib.DEFLATED, 31)  # 31: with the head and tail of gzip
        self.packed = packer.compress(self.plain) + packer.flush()
        self.tag = f'"{hashlib.sha256(self.plain).hexdigest()[:16]}"'


class Space:
    """A bundle's space, as it is shown. Thread-safe."""

    def __init__(self, bundle: Bundle) -> None:
        """Show ``bundle``.

        Raises:
            BundleError: its portraits belong to another network.
        """
        self.bundle = bundle
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
                while len(self._painted) > KEPT_PORTRAITS:
                    self._painted.popitem(last=False)
        return np.stack([known[key] for key in keys])

    def painted(self, queries: Sequence[Query], owned: GalleryStore | None, side_px: int | None = None) -> bytes:
        """A PNG file with the portraits of points under one another, each as large as ``side_px`` asks.

        Args:
            queries: which points.
            owned: where ids of faces are looked up; None takes the bundle's gallery.
            side_px: of each; None leaves them as they are painted.

        Raises:
            QueryError: the bundle has no portraits, or a query names nothing that it has.
        """
        faces = self.paint(np.stack([point_of(query, self.bundle, owned) for query in queries]))
        side = faces.shape[1]
        picture = Image.fromarray(faces.reshape(-1, side))
        if side_px is not None and side_px != side:
            scaled = [Image.fromarray(face).resize((side_px, side_px), Image.Resampling.BICUBIC) for face in faces]
            picture = Image.fromarray(np.concatenate([np.asarray(face) for face in scaled]))
        buffer = BytesIO()
        picture.save(buffer, "PNG")
        return buffer.getvalue()

    @cached_property
    def map(self) -> Written:
        """The map."""
        view, gallery, emotions = self._view, self.bundle.gallery, self.bundle.mixture.emotions
        places = shipped_places(self.bundle, view).round(MAP_DECIMALS)
        return Written(
            MapAnswer(
                middle=view.middle.tolist(),
                axes=view.axes.tolist(),
                emotions=[self._shown(region) for region in self._emotions],
                sub_classes=[self._shown(region) for region in self._sub_classes],
                ids=[entry.id for entry in gallery.entries],
                x=places[:, 0].tolist(),
                y=places[:, 1].tolist(),
                emotion=[emotions.index(entry.emotion) for entry in gallery.entries],
            )
        )

    @cached_property
    def atlas(self) -> Written:
        """The atlas."""
        return Written(
            Atlas(
                faces=len(self.bundle.gallery),
                portraits=self.has_portraits,
                emotions=[
                    self._described(
                        region,
                        [self._described(part, []) for part in self._sub_classes if part.emotion == region.emotion],
                    )
                    for region in self._emotions
                ],
            )
        )

    @cached_property
    def _view(self) -> FlatView:
        return flat_view(self.bundle.mixture)

    @cached_property
    def _emotions(self) -> list[Region]:
        return emotions_of(self.bundle)

    @cached_property
    def _sub_classes(self) -> list[Region]:
        return sub_classes_of(self.bundle)

    def _shown(self, region: Region) -> MapRegion:
        shape = ellipse(self._view, region.centroid, region.covariance)
        return MapRegion(id=region.id, x=shape.x, y=shape.y, long=shape.long, short=shape.short, turn=shape.turn)

    def _described(self, region: Region, sub_classes: list[AtlasRegion]) -> AtlasRegion:
        return AtlasRegion(
            id=region.id,
            faces=region.faces,
            share=region.share,
            votes=region.votes,
            nearest=[NearestFace(id=match.entry.id, distance=match.distance) for match in region.nearest],
            sub_classes=sub_classes,
        )

    def _portrait_painter(self) -> PortraitPainter:
        if self._painter is None:
            raise QueryError("the bundle that is served has no portraits: mien portraits makes them")
        return self._painter
