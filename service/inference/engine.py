"""The engine: what is served, without the protocol it is served over.

Its steps are apart, so that the service can do each where and with whom it is cheapest: ``find`` for one image,
``answer`` for the faces of several requests together, ``answer_each`` with files among them that are faces already.
``classified``, ``retrieved`` and ``embedded`` put into words what came out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mien.index.bundle.bundle import Bundle, check_fits, load_bundle
from mien.index.bundle.manifest import EMBEDDER
from mien.index.errors import QueryError
from mien.index.gallery.cursor import next_page
from mien.index.gallery.embedded.folder import check_network
from mien.index.gallery.gallery import Entry, Match
from mien.index.gallery.shipped import ShippedGallery
from mien.index.gallery.store import EVERYTHING, GalleryMatch, GalleryStore, SearchOptions
from mien.index.mixture.labelling import sub_classes
from mien.index.mixture.mixture import posterior_from
from mien.model.errors import ImageError
from mien.model.faces.reader import Face, whole_face
from mien.model.pipeline import Pipeline, load_pipeline
from mien.service.inference.served_gallery import open_store
from mien.service.operation.metrics import Metrics
from mien.service.schemas.faces import (
    Classification,
    ClassifiedFace,
    EmbeddedFace,
    Embedding,
    FoundMatch,
    PointRetrieval,
    Retrieval,
    RetrievedFace,
)
from mien.service.schemas.retrieval import cursor
from mien.service.settings import Settings


@dataclass(frozen=True)
class Ask:
    """What one request wants of the network and the gallery: about crops, points or a file.

    Attributes:
        crops: (n, side, side) uint8 faces to embed, or
        points: (n, d) float32 that are embeddings already, or
        file: an image file that is one face already. It is read where it is answered (``Engine.answer_each``): that
            takes less than a second way to a core and back.
        k: matches of each; None searches nothing.
        options: which faces of the gallery may match; with ``after``, of one face or point alone.
    """

    crops: NDArray[np.uint8] | None = None
    points: NDArray[np.float32] | None = None
    file: bytes | None = None
    k: int | None = None
    options: SearchOptions = EVERYTHING

    def __len__(self) -> int:
        if self.file is not None:
            return 1
        given = self.crops if self.crops is not None else self.points
        return 0 if given is None else len(given)


@dataclass(frozen=True)
class Placed:
    """Where n faces lie in the embedding space, and who is near.

    Attributes:
        embeddings: (n, d) float32.
        distances: (n, c) float64 to the emotions' centroids.
        posteriors: (n, c) float64.
        typicality: (n,) float64.
        nearest: (n,) int64, the emotion of each, by its place among the mixture's.
        sub_classes: (n,) the id of each one's sub-class; None where the bundle has none.
        matches: of each face, where they were asked for.
        snapshot: number of what was searched.
        options: with which it was searched.
        exact: whether the matches are surely the nearest.
        faces: those that were read from the file of an ``Ask``.
    """

    embeddings: NDArray[np.float32]
    distances: NDArray[np.float64]
    posteriors: NDArray[np.float64]
    typicality: NDArray[np.float64]
    nearest: NDArray[np.int64]
    sub_classes: list[str | None]
    matches: list[list[Match]]
    snapshot: int = 0
    options: SearchOptions = EVERYTHING
    exact: bool = True
    faces: Sequence[Face] = ()

    @classmethod
    def joined(cls, parts: "list[Placed]") -> "Placed":
        """Several as one, in their order."""
        return cls(
            np.concatenate([part.embeddings for part in parts]),
            np.concatenate([part.distances for part in parts]),
            np.concatenate([part.posteriors for part in parts]),
            np.concatenate([part.typicality for part in parts]),
            np.concatenate([part.nearest for part in parts]),
            [each for part in parts for each in part.sub_classes],
            [matches for part in parts for matches in part.matches],
            parts[0].snapshot,
            parts[0].options,
            all(part.exact for part in parts),
        )


class _Read(NamedTuple):
    """An ask without a file, and the faces of the file that it had."""

    ask: Ask
    faces: Sequence[Face] = ()


class Engine:
    """Answers about images, from one bundle. Thread-safe."""

    def __init__(
        self,
        bundle: Bundle,
        pipeline: Pipeline,
        max_k: int,
        min_typicality: float | None = None,
        metrics: Metrics | None = None,
        *,
        gallery: GalleryStore | None = None,
    ) -> None:
        """Put the parts together.

        Args:
            bundle: what is served.
            pipeline: with the bundle's embedder.
            max_k: most matches that a query may ask for.
            min_typicality: faces that are less typical show no known expression; None leaves it to the bundle.
            metrics: where the time of each stage is noted.
            gallery: the owner's, which is searched in place of the bundle's.

        Raises:
            BundleError: the pipeline's embedder is not the one of the bundle.
        """
        check_fits(bundle, pipeline.embedder)
        self.bundle = bundle
        self.pipeline = pipeline
        self.max_k = max_k
        self.min_typicality = bundle.mixture.min_typicality if min_typicality is None else min_typicality
        self.metrics = metrics or Metrics()
        self.owned = gallery
        self.gallery: GalleryStore = gallery or ShippedGallery(bundle)

    def warm_up(self) -> None:
        """Run every part once, so that the first request is as fast as the others."""
        blank = np.full((240, 320, 3), 127, dtype=np.uint8)
        self.pipeline.crop_faces(blank)
        self.answer([Ask(crops=whole_face(blank).crop[None], k=1)])

    def check_k(self, k: int) -> None:
        """Refuse a number of matches that is out of range.

        Raises:
            QueryError: it is below 1 or above ``max_k``.
        """
        if not 1 <= k <= self.max_k:
            raise QueryError(f"k should be from 1 to {self.max_k}, got {k}")

    def find(self, data: bytes, *, already_cropped: bool, most_faces: int | None = None) -> list[Face]:
        """The faces of an image file, largest first; boxes in pixels of the file's picture.

        Raises:
            ImageError: the image cannot be used, or has no face.
        """
        faces = self.pipeline.read_faces(data, already_cropped=already_cropped, timed=self.metrics.timed)
        self.metrics.faces_per_image.observe(len(faces))
        return faces[:most_faces]

    def answer_each(self, asks: list[Ask]) -> list[Placed | ImageError]:
        """Answer several requests together, as ``answer`` does; a file that cannot be used spoils no other's answer.

        Args:
            asks: each with at least one face, or a file.

        Returns:
            One answer for each, in their order, or why its file cannot be used.
        """
        read = [self._read(ask) for ask in asks]
        placed = iter(self.answer([each.ask for each in read if isinstance(each, _Read)]))
        return [replace(next(placed), faces=each.faces) if isinstance(each, _Read) else each for each in read]

    def _read(self, ask: Ask) -> "_Read | ImageError":
        if ask.file is None:
            return _Read(ask)
        try:
            faces = self.find(ask.file, already_cropped=True)
        except ImageError as error:
            return error
        return _Read(replace(ask, file=None, crops=np.stack([face.crop for face in faces])), faces)

    def find_in(self, image: NDArray[np.uint8], *, already_cropped: bool, most_faces: int | None = None) -> list[Face]:
        """The faces of a frame, largest first; empty when there is none.

        Args:
            image: (h, w, 3) uint8 RGB, upright.
            already_cropped: the whole frame is one face.
            most_faces: the largest faces that are given; None takes as many as of an image.
        """
        if already_cropped:
            return [whole_face(image)]
        with self.metrics.timed("detect"):
            faces = self.pipeline.crop_faces(image)
        self.metrics.faces_per_image.observe(len(faces))
        return faces[:most_faces]

    def answer(self, asks: list[Ask]) -> list[Placed]:
        """Answer several requests together: one run of the network, one search for each k that is asked for.

        Args:
            asks: each with at least one face, none with a file.

        Returns:
            One answer for each, in their order.
        """
        if not asks:
            return []
        with self.metrics.timed("embed"):
            embeddings = self._embeddings(asks)
            mixture = self.bundle.mixture
            distances = mixture.distances(embeddings)
            posteriors = posterior_from(distances, mixture.sigma)
            typicality = mixture.typicality(embeddings)
            nearest = distances.argmin(axis=1)
            names = sub_classes(self.bundle, embeddings, nearest)
        ends = np.cumsum([len(ask) for ask in asks]).tolist()
        rows = [slice(end - len(ask), end) for ask, end in zip(asks, ends, strict=True)]
        matches: list[list[list[Match]]] = [[] for _ in asks]
        searched = [(0, True)] * len(asks)
        if any(ask.k is not None for ask in asks):
            with self.metrics.timed("search"):
                searched = self._search(asks, rows, embeddings, matches)
        return [
            Placed(
                embeddings[own],
                distances[own],
                posteriors[own],
                typicality[own],
                nearest[own],
                names[own],
                found,
                snapshot,
                ask.options,
                exact,
            )
            for ask, own, found, (snapshot, exact) in zip(asks, rows, matches, searched, strict=True)
        ]

    def _embeddings(self, asks: list[Ask]) -> NDArray[np.float32]:
        """(n, d) the embeddings of all faces; those that came as points are taken as they are."""
        crops = [ask.crops for ask in asks if ask.crops is not None]
        if not crops:
            return np.concatenate([ask.points for ask in asks if ask.points is not None])
        embedded = self.pipeline.embedder.embed(np.concatenate(crops))
        self.metrics.batch_faces.observe(len(embedded))
        if len(crops) == len(asks):
            return embedded
        parts, taken = [], 0
        for ask in asks:
            if ask.points is not None:
                parts.append(ask.points)
            else:
                parts.append(embedded[taken : taken + len(ask)])
                taken += len(ask)
        return np.concatenate(parts)

    def _search(
        self,
        asks: list[Ask],
        rows: list[slice],
        embeddings: NDArray[np.float32],
        matches: list[list[list[Match]]],
    ) -> list[tuple[int, bool]]:
        """Fill in the matches of each ask; returns the snapshot number of each, and whether its matches are exact."""
        searched = [(0, True)] * len(asks)
        for k, options in dict.fromkeys((ask.k, ask.options) for ask in asks if ask.k is not None):
            same = [number for number, ask in enumerate(asks) if (ask.k, ask.options) == (k, options)]
            # A next page is of one point: others that ask for the same one are answered by themselves.
            for group in [[number] for number in same] if options.after is not None else [same]:
                points = np.concatenate([embeddings[rows[number]] for number in group])
                found, snapshot, exact = self._matches(points, k or 1, options)
                answers = iter(found)
                for number in group:
                    matches[number] = [next(answers) for _ in range(len(asks[number]))]
                    searched[number] = snapshot, exact
        return searched

    def _matches(
        self, points: NDArray[np.float32], k: int, options: SearchOptions
    ) -> tuple[list[list[Match]], int, bool]:
        if self.owned is None and options == EVERYTHING:
            return self.bundle.gallery.search(points, k), len(self.bundle.gallery), True
        result = self.gallery.search(points, k, options)
        return [[_match(each) for each in matches] for matches in result.matches], result.snapshot, result.exact

    def classified(self, faces: list[Face], placed: Placed) -> Classification:
        """The emotion of each face."""
        emotions = self.bundle.mixture.emotions
        return Classification(
            faces=[
                ClassifiedFace(
                    box=face.box,
                    detection=face.detection,
                    emotion=emotions[placed.nearest[row]],
                    posterior=dict(zip(emotions, placed.posteriors[row].tolist(), strict=True)),
                    sub_class=placed.sub_classes[row],
                    distance=placed.distances[row, placed.nearest[row]],
                    typicality=placed.typicality[row],
                    known=bool(placed.typicality[row] >= self.min_typicality),
                )
                for row, face in enumerate(faces)
            ]
        )

    def retrieved(self, faces: list[Face], placed: Placed) -> Retrieval:
        """The gallery's nearest expressions for each face."""
        return Retrieval(
            faces=[
                RetrievedFace(
                    box=face.box,
                    detection=face.detection,
                    emotion=self.bundle.mixture.emotions[placed.nearest[row]],
                    matches=_found(placed.matches[row]),
                    next=_next(placed, row),
                )
                for row, face in enumerate(faces)
            ]
        )

    def embedded(self, faces: list[Face], placed: Placed) -> Embedding:
        """Each face with its point."""
        emotions = self.bundle.mixture.emotions
        return Embedding(
            faces=[
                EmbeddedFace(
                    box=face.box,
                    detection=face.detection,
                    emotion=emotions[placed.nearest[row]],
                    posterior=dict(zip(emotions, placed.posteriors[row].tolist(), strict=True)),
                    embedding=placed.embeddings[row].tolist(),
                )
                for row, face in enumerate(faces)
            ]
        )

    def retrieved_at(self, placed: Placed) -> PointRetrieval:
        """The gallery's nearest expressions to one point."""
        emotions = self.bundle.mixture.emotions
        return PointRetrieval(
            emotion=emotions[placed.nearest[0]],
            posterior=dict(zip(emotions, placed.posteriors[0].tolist(), strict=True)),
            embedding=placed.embeddings[0].tolist(),
            matches=_found(placed.matches[0]),
            next=_next(placed, 0),
        )


def _found(matches: list[Match]) -> list[FoundMatch]:
    return [
        FoundMatch(
            id=match.entry.id,
            distance=match.distance,
            emotion=match.entry.emotion,
            metadata=match.entry.metadata,
            subject=match.entry.subject,
            sub_class=match.entry.sub_class,
        )
        for match in matches
    ]


def _match(found: GalleryMatch) -> Match:
    face = found.face
    emotion = face.label or face.emotion or ""
    return Match(Entry(face.id, emotion, dict(face.metadata), face.subject, face.sub_class), found.distance)


def _next(placed: Placed, row: int) -> str | None:
    matches = [(match.distance, match.entry.id) for match in placed.matches[row]]
    return cursor(next_page(placed.options, placed.snapshot, matches, exact=placed.exact)) if matches else None


def load_engine(settings: Settings, metrics: Metrics | None = None, gallery: GalleryStore | None = None) -> Engine:
    """Load a bundle with everything that answers from it, and warm it up.

    Args:
        settings: of the service.
        metrics: where the time of each stage is noted.
        gallery: the owner's, where it is open already.

    Raises:
        ArtifactError: a part is missing, broken, or does not fit the others; the owner's gallery cannot be opened.
        ConfigError: the provider is not installed.
    """
    bundle = load_bundle(settings.bundle)
    if gallery is not None:
        check_network(
            settings.bundle,
            bundle.manifest.sha256[EMBEDDER],
            bundle.mixture.centroids.shape[1],
            gallery.embedder_sha256,
            gallery.embedding_size,
        )
    pipeline = load_pipeline(
        bundle.embedder_path,
        detector=settings.detector,
        limits=settings.decoding_limits,
        max_faces=settings.max_faces,
        threads=settings.threads,
        provider=settings.provider,
    )
    if gallery is None and settings.gallery is not None:
        gallery = open_store(settings, bundle)
    engine = Engine(bundle, pipeline, settings.max_k, settings.min_typicality, metrics, gallery=gallery)
    engine.warm_up()
    return engine
