"""Requests to the engine and its predictions: dataclasses of arrays, without JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mien.index.gallery.results import GalleryMatch
from mien.index.gallery.store import EVERYTHING, SearchOptions
from mien.index.gallery.summary import Summary
from mien.index.mixture.covering import Part
from mien.model.emotions import EmotionPrior
from mien.model.faces.quality import FaceQuality
from mien.model.faces.reader import Face


@dataclass(frozen=True)
class ImageQuery:
    """One image of a request, with the parameters of its prediction.

    Attributes:
        file: the image file.
        already_cropped: the whole image is one face; nothing is detected.
        max_faces: the largest faces that are answered; None answers all that the pipeline reads.
        k: matches of each face; None searches nothing.
        options: which faces of the gallery may match; with ``after``, the image must have one face.
        prior: weights of the emotions in the posterior; None takes the engine's.
        photographs: matches with a thumbnail, beside the others, under the same options; 0 searches none.
        summary: how many of the nearest faces are counted by sub-class; 0 counts none.
        thumbnails: the faces get thumbnails.
    """

    file: bytes = b""
    already_cropped: bool = False
    max_faces: int | None = None
    k: int | None = None
    options: SearchOptions = EVERYTHING
    prior: EmotionPrior | None = None
    photographs: int = 0
    summary: int = 0
    thumbnails: bool = False


@dataclass(frozen=True)
class InferenceRequest:
    """One item of a batch: faces, a crop file or points, of which exactly one is given.

    Attributes:
        faces: (n,) to embed.
        crop_file: an image file that is one face. It is decoded with its batch: that takes less time than a second way
            through the worker pool.
        points: (n, d) float32 embeddings.
        k: matches of each face or point; None searches nothing.
        options: which faces of the gallery may match; with ``after``, there must be one face or point.
        prior: weights of the emotions in the posterior; None takes the engine's.
        photographs: as of ``ImageQuery``.
        summary: as of ``ImageQuery``.
    """

    faces: Sequence[Face] = ()
    crop_file: bytes | None = None
    points: NDArray[np.float32] | None = None
    k: int | None = None
    options: SearchOptions = EVERYTHING
    prior: EmotionPrior | None = None
    photographs: int = 0
    summary: int = 0

    def __len__(self) -> int:
        if self.crop_file is not None:
            return 1
        return len(self.faces) if self.points is None else len(self.points)


@dataclass(frozen=True)
class Found:
    """The faces of the gallery near one face or point, nearest first.

    Attributes:
        matches: the nearest.
        next_page: options of the next page of matches; None where nothing matched.
        photographs: the nearest with a thumbnail; None unless they were asked for.
        summary: of the nearest; None unless it was asked for.
    """

    matches: list[GalleryMatch]
    next_page: SearchOptions | None
    photographs: list[GalleryMatch] | None = None
    summary: Summary | None = None


@dataclass(frozen=True)
class Prediction:
    """The faces or points of one request in the embedding space, and their matches.

    Attributes:
        emotions: (c,) names, in the order of the columns below.
        faces: (n,) the faces; empty for points.
        embeddings: (n, d) float32.
        distances: (n, c) float64, to the emotions' centroids.
        prior: weights of the emotions in the posteriors.
        posteriors: (n, c) float64, rows sum to 1.
        typicality: (n,) float64, 0 to 1.
        known: (n,) bool, whether the typicality is enough for a known expression.
        likeliest: (n,) int64, column of the largest posterior, under the prior ``uniform`` that of the nearest
            centroid.
        intensity: (n,) float64, how strongly each shows its emotion; NaN for neutral.
        quality: (n,) of the faces; empty for points.
        covered: (n,) the parts of each face that are covered; empty for points.
        sub_classes: (n,) id of the likeliest sub-class of that emotion; None where the bundle has none.
        sub_class_names: the id of each sub-class of the bundle that has a name to that name.
        found: (n,) what the gallery has near each; empty without a search.
    """

    emotions: tuple[str, ...]
    faces: Sequence[Face]
    embeddings: NDArray[np.float32]
    distances: NDArray[np.float64]
    prior: EmotionPrior
    posteriors: NDArray[np.float64]
    typicality: NDArray[np.float64]
    known: NDArray[np.bool_]
    likeliest: NDArray[np.int64]
    intensity: NDArray[np.float64]
    quality: Sequence[FaceQuality]
    covered: Sequence[tuple[Part, ...]]
    sub_classes: list[str | None]
    sub_class_names: Mapping[str, str]
    found: list[Found]

    def __len__(self) -> int:
        return len(self.embeddings)

    def emotion_of(self, row: int) -> str:
        """The likeliest emotion."""
        return self.emotions[int(self.likeliest[row])]

    def take(self, rows: Sequence[int]) -> "Prediction":
        """The prediction of some of its faces, in another order; without what the gallery has near them."""
        return replace(
            self,
            faces=[self.faces[row] for row in rows],
            embeddings=self.embeddings[rows],
            distances=self.distances[rows],
            posteriors=self.posteriors[rows],
            typicality=self.typicality[rows],
            known=self.known[rows],
            likeliest=self.likeliest[rows],
            intensity=self.intensity[rows],
            quality=[self.quality[row] for row in rows],
            covered=[self.covered[row] for row in rows],
            sub_classes=[self.sub_classes[row] for row in rows],
            found=[],
        )

    @classmethod
    def concatenate(cls, parts: "Sequence[Prediction]") -> "Prediction":
        """Predictions of one engine as one, in their order."""
        return cls(
            emotions=parts[0].emotions,
            faces=[face for part in parts for face in part.faces],
            embeddings=np.concatenate([part.embeddings for part in parts]),
            distances=np.concatenate([part.distances for part in parts]),
            prior=parts[0].prior,
            posteriors=np.concatenate([part.posteriors for part in parts]),
            typicality=np.concatenate([part.typicality for part in parts]),
            known=np.concatenate([part.known for part in parts]),
            likeliest=np.concatenate([part.likeliest for part in parts]),
            intensity=np.concatenate([part.intensity for part in parts]),
            quality=[each for part in parts for each in part.quality],
            covered=[each for part in parts for each in part.covered],
            sub_classes=[each for part in parts for each in part.sub_classes],
            sub_class_names=parts[0].sub_class_names,
            found=[each for part in parts for each in part.found],
        )
