"""Plots of an evaluation or a training; each function writes a PNG file.

The colours of emotions are the same in each plot and can be distinguished with the common forms of colour blindness:
the *bright* scheme of Paul Tol (https://personal.sron.nl/~pault/), with black as the eighth. Figures are built without
pyplot, which keeps them in a global list.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator, PercentFormatter
from matplotlib.transforms import Bbox
from numpy.typing import NDArray
from PIL import Image
from sklearn.decomposition import PCA

from mien.index.evaluation.scores.calibration import ReliabilityBin
from mien.index.views.map import FlatView, ellipse

EMOTION_COLOURS: Final = {
    "neutral": "#BBBBBB",
    "happiness": "#CCBB44",
    "surprise": "#66CCEE",
    "sadness": "#4477AA",
    "anger": "#EE6677",
    "disgust": "#228833",
    "fear": "#AA3377",
    "contempt": "#000000",
}

_ACCENT: Final = EMOTION_COLOURS["sadness"]
_WARNING: Final = EMOTION_COLOURS["anger"]
_INK: Final = "#333333"
_FAINT: Final = "#BBBBBB"
_DPI: Final = 120
_POINTS_DRAWN: Final = 3000  # more would only cover each other


def confusion_matrix(
    path: Path, confusion: Sequence[Sequence[int]] | NDArray[np.integer], names: Sequence[str]
) -> None:
    """Draw a confusion matrix: the share of each row as colour and percentage, and the counts.

    Args:
        path: the PNG file.
        confusion: (c, c) counts, row = label, column = prediction. A row without faces stays empty.
        names: (c,) names, in the order of the rows.
    """
    counts = np.asarray(confusion, dtype=np.int64)
    totals = counts.sum(axis=1)
    shares = counts / np.maximum(totals, 1)[:, None]
    side = 1.8 + 0.8 * len(names)
    figure = Figure(figsize=(side + 0.7, side - 0.2), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in product(range(len(names)), repeat=2):
        if counts[row, column] == 0:
            continue
        colour = "white" if shares[row, column] > 0.55 else _INK
        weight = "bold" if row == column else "normal"
        axes.text(
            column,
            row - 0.1,
            _percent(shares[row, column]),
            color=colour,
            weight=weight,
            size=10.5,
            ha="center",
            va="center",
        )
        axes.text(column, row + 0.22, f"{counts[row, column]:,}", color=colour, size=7.5, ha="center", va="center")
    axes.set_xticks(range(len(names)), names, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), [f"{name}\n{total:,}" for name, total in zip(names, totals, strict=True)])
    axes.set_xticks(np.arange(len(names) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(names) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0, colors=_INK)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted", color=_INK, size=11)
    axes.set_ylabel("label", color=_INK, size=11)
    accuracy = counts.diagonal().sum() / max(1, counts.sum())
    _title(axes, f"Confusion matrix: {accuracy:.1%} of {counts.sum():,} faces are on the diagonal")
    bar = figure.colorbar(image, ax=axes, shrink=0.7, aspect=30, format=PercentFormatter(xmax=1))
    bar.set_label("share of the label's faces", color=_INK)
    bar.outline.set_visible(False)
    _save(figure, path)


def reliability_diagram(path: Path, bins: Sequence[ReliabilityBin], ece: float, *, note: str = "") -> None:
    """Draw accuracy over confidence, and below it the distribution of confidence.

    Args:
        path: the PNG file.
        bins: the reliability bins, in ascending order.
        ece: expected calibration error.
        note: a line below the title.
    """
    figure = Figure(figsize=(5.8, 6.6), dpi=_DPI, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    lefts = [bin_.lower for bin_ in bins]
    widths = [bin_.upper - bin_.lower for bin_ in bins]
    accuracies = [bin_.accuracy or 0.0 for bin_ in bins]
    upper.bar(lefts, accuracies, widths, align="edge", color="#A9C1DA", edgecolor="white", label="accuracy of the bin")
    filled = [
        (bin_.confidence, bin_.accuracy) for bin_ in bins if bin_.confidence is not None and bin_.accuracy is not None
    ]
    gap = {"color": _WARNING, "linewidth": 2.5}
    for number, (confidence, accuracy) in enumerate(filled):
        upper.plot([confidence] * 2, [accuracy, confidence], label="gap to confidence" if number == 0 else None, **gap)
    upper.plot([0, 1], [0, 1], color=_INK, linewidth=1, linestyle=(0, (5, 4)), label="perfect calibration")
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
    upper.legend(loc="upper left", framealpha=0.85, edgecolor="none", fontsize=9.5, labelcolor=_INK)
    faces = sum(bin_.count for bin_ in bins)
    _title(upper, f"Reliability: expected calibration error {ece:.1%}", pad=24 if note else 10)
    if note:
        upper.text(0, 1.01, note, transform=upper.transAxes, color=_INK, size=9, va="bottom")

    lower.bar(lefts, [bin_.count / faces for bin_ in bins], widths, align="edge", color=_FAINT, edgecolor="white")
    confidence_mean = sum(bin_.count * (bin_.confidence or 0.0) for bin_ in bins) / faces
    accuracy_mean = sum(bin_.count * (bin_.accuracy or 0.0) for bin_ in bins) / faces
    lower.axvline(accuracy_mean, color=_ACCENT, linewidth=2, label=f"mean accuracy {accuracy_mean:.1%}")
    lower.axvline(
        confidence_mean,
        color=_INK,
        linewidth=1.5,
        linestyle=(0, (2, 1.5)),
        label=f"mean confidence {confidence_mean:.1%}",
    )
    lower.legend(loc="upper left", framealpha=0.85, edgecolor="none", fontsize=9.5, labelcolor=_INK)
    lower.set(xlabel="confidence (posterior of the top emotion)", ylabel=f"share of\n{faces:,} faces")
    lower.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    for axes in (upper, lower):
        axes.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
        _plain(axes)
    upper.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    _save(figure, path)


def embedding_map(
    path: Path,
    embeddings: NDArray[np.floating],
    labels: NDArray[np.integer],
    *,
    centroids: NDArray[np.floating],
    covariances: NDArray[np.floating],
    names: Sequence[str],
) -> None:
    """Draw the embedding space on its two principal axes: faces as points, each Gaussian as an ellipse.

    An ellipse is the contour of the projected Gaussian at two standard deviations; its centroid is a dot.

    Args:
        path: the PNG file.
        embeddings: (n, d) float, d at least 2. The axes are those of all faces; at most 3,000 are drawn.
        labels: (n,) rows of ``names``; faces with a negative label are not drawn.
        centroids: (c, d) float.
        covariances: (c, d, d) float.
        names: (c,) names of the Gaussians.
    """
    view, explained = principal_view(embeddings)
    points, centres = view.project(embeddings), view.project(centroids)
    colours = _colours(names)

    figure = Figure(figsize=(8.4, 7.0), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    labelled = np.flatnonzero(labels >= 0)
    # In random order, so that no emotion is on top.
    drawn = np.random.default_rng(0).permutation(labelled)[:_POINTS_DRAWN]
    point_colours = [colours[label] for label in labels[drawn]]
    axes.scatter(points[drawn, 0], points[drawn, 1], s=8, c=point_colours, alpha=0.5, linewidths=0)
    for centre, centroid, covariance, colour in zip(centres, centroids, covariances, colours, strict=True):
        shape = ellipse(view, centroid, covariance, deviations=2)
        for stroke, width in (("white", 4.5), (colour, 2.2)):
            outline = {"facecolor": "none", "edgecolor": stroke, "linewidth": width}
            angle = np.degrees(shape.turn)
            axes.add_patch(Ellipse((shape.x, shape.y), 2 * shape.long, 2 * shape.short, angle=angle, **outline))
        axes.plot(*centre, marker="o", markersize=8, color=colour, markeredgecolor="white", markeredgewidth=1.5)
    axes.set_aspect("equal", adjustable="datalim")
    axes.autoscale_view()
    axes.set_xlabel(f"first principal axis ({explained[0]:.0%} of the variance), embedding units")
    axes.set_ylabel(f"second principal axis ({explained[1]:.0%})")
    count = f"{labelled.size:,}" if drawn.size == labelled.size else f"{drawn.size:,} of {labelled.size:,}"
    _title(axes, f"Embedding space: {count} faces, Gaussians at two standard deviations")
    _plain(axes)
    _name_points(figure, axes, centres, names, colours)
    _save(figure, path)


def training_curves(path: Path, losses: Sequence[float], accuracies: Sequence[float]) -> None:
    """Draw training loss and validation accuracy over the epochs.

    Args:
        path: the PNG file.
        losses: of each epoch; at least one.
        accuracies: of each epoch, from 0 to 1.
    """
    epochs = range(1, len(losses) + 1)
    best = int(np.argmax(accuracies))
    figure = Figure(figsize=(7.0, 5.6), dpi=_DPI, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    marker = "o" if len(losses) <= 40 else None
    upper.plot(epochs, losses, color=_WARNING, linewidth=2, marker=marker, markersize=3.5)
    upper.set_ylabel("training loss")
    upper.set_ylim(0, 1.08 * max(losses))
    lower.plot(epochs, accuracies, color=_ACCENT, linewidth=2, marker=marker, markersize=3.5)
    lower.plot(epochs[best], accuracies[best], marker="o", markersize=9, color="none", markeredgecolor=_INK)
    lower.axhline(accuracies[best], color=_FAINT, linewidth=1, zorder=0)
    lower.set_ylabel("validation accuracy")
    lower.set_xlabel("epoch")
    lower.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    lower.xaxis.set_major_locator(MaxNLocator(integer=True))
    _title(upper, f"Training: best validation accuracy {accuracies[best]:.2%}, after epoch {epochs[best]}")
    for axes in (upper, lower):
        _plain(axes)
    _save(figure, path)


def ablation_table(path: Path, columns: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """Draw an ablation: a panel for each figure, a line for each row, a dot for each seed.

    Args:
        path: the PNG file.
        columns: name of a figure to row to its values, one for each seed; every figure has the same rows.
    """
    rows = list(next(iter(columns.values())))
    figure = Figure(figsize=(3.2 + 2.1 * len(columns), 0.9 + 0.32 * len(rows)), dpi=_DPI, layout="constrained")
    panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    places = np.arange(len(rows))[::-1]
    for axes, (title, values) in zip(panels, columns.items(), strict=True):
        for place, row in zip(places, rows, strict=True):
            seeds = values[row]
            axes.plot(seeds, [place] * len(seeds), color=_FAINT, linewidth=1.5, zorder=1)
            axes.plot(seeds, [place] * len(seeds), "o", color=_ACCENT, markersize=5, zorder=2)
        axes.grid(axis="x", color=_FAINT, linewidth=0.5)
        axes.set_yticks(places, rows)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        _title(axes, title)
        _plain(axes)
    _save(figure, path)


def principal_view(embeddings: NDArray[np.floating]) -> tuple[FlatView, NDArray[np.float64]]:
    """The projection of (n, d) embeddings on their two principal axes, and the share of the variance along each.

    The largest component of each axis is positive, so that a map does not flip between runs.
    """
    pca = PCA(2, svd_solver="full").fit(embeddings.astype(np.float64))
    return FlatView(pca.mean_, pca.components_), pca.explained_variance_ratio_


def _name_points(
    figure: Figure, axes: Axes, points: NDArray[np.float64], names: Sequence[str], colours: Sequence[str]
) -> None:
    """Write a name next to each point, where it covers neither another name nor a point."""
    figure.draw_without_rendering()  # the layout decides the pixels, in which places are chosen
    axes.set_autoscale_on(False)
    axes.set_aspect("equal", adjustable="box")  # the limits fit the box already, and must stay
    to_pixels, to_data = axes.transData, axes.transData.inverted()
    pixels = to_pixels.transform(points)  # (c, 2)
    occupied = [Bbox.from_bounds(x - 7, y - 7, 14, 14) for x, y in pixels]
    frame = axes.get_window_extent()
    for (x, y), name, colour in zip(pixels, names, colours, strict=True):
        text = axes.text(0, 0, name, size=11, weight="bold", color=_dark(colour), ha="center", va="center", zorder=10)
        text.set_path_effects([withStroke(linewidth=3.5, foreground="white")])
        width, height = text.get_window_extent().size
        for dx, dy in _offsets(width, height):
            box = Bbox.from_bounds(x + dx - width / 2, y + dy - height / 2, width, height)
            if _contains(frame, box) and not any(box.overlaps(other) for other in occupied):
                break
        occupied.append(box)
        place = to_data.transform((x + dx, y + dy))
        text.set_position((place[0], place[1]))
        if not box.padded(12).contains(x, y):  # too far from its point without a line
            (start_x, start_y), (end_x, end_y) = to_data.transform((x, y)), place
            line = axes.plot([start_x, end_x], [start_y, end_y], color=_dark(colour), linewidth=1.2, zorder=9)[0]
            line.set_path_effects([withStroke(linewidth=3, foreground="white")])


def _contains(outer: Bbox, inner: Bbox) -> bool:
    return outer.contains(inner.x0, inner.y0) and outer.contains(inner.x1, inner.y1)


def _offsets(width: float, height: float) -> Iterator[tuple[float, float]]:
    """Places for a name relative to its point, in pixels, nearest first."""
    for ring in range(40):
        dx = width / 2 + 9 + ring * height * 0.5
        dy = height / 2 + 9 + ring * height * 0.5
        yield from ((0, dy), (0, -dy), (dx, 0), (-dx, 0), (dx, dy), (-dx, dy), (dx, -dy), (-dx, -dy))


def _colours(names: Sequence[str]) -> list[str]:
    """The colour of the emotion for an emotion or a sub-class; the colours in turn for other names."""
    palette = list(EMOTION_COLOURS.values())
    chosen = []
    for number, name in enumerate(names):
        of_emotion = [colour for emotion, colour in EMOTION_COLOURS.items() if name.startswith(emotion)]
        chosen.append(of_emotion[0] if of_emotion else palette[number % len(palette)])
    return chosen


def _dark(colour: str) -> tuple[float, float, float]:
    """A darker shade, for text on white."""
    red, green, blue = to_rgb(colour)
    return red * 0.6, green * 0.6, blue * 0.6


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else "<1%"


def _title(axes: Axes, text: str, *, pad: float = 10) -> None:
    axes.set_title(text, loc="left", color=_INK, size=11.5, weight="bold", pad=pad)


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_FAINT)
    axes.tick_params(colors=_INK, length=3)
    axes.xaxis.label.set_color(_INK)
    axes.yaxis.label.set_color(_INK)
    axes.grid(color="#EEEEEE", linewidth=0.8)
    axes.set_axisbelow(True)


def _save(figure: Figure, path: Path) -> None:
    """Write a PNG with a palette, which has a third of the size and the same flat colours."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    with Image.open(buffer) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, format="PNG", optimize=True)
