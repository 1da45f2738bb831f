"""``mien classify`` and ``mien retrieve``: answers about pictures without a server, from the same engine."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.table import Table

from mien.index.bundle.bundle import load_bundle
from mien.model.errors import ConfigError, ImageError
from mien.model.faces.decoding import DecodingLimits, read_file
from mien.model.faces.reader import Face
from mien.model.pipeline import load_pipeline
from mien.service.commands.contact_sheet import check_sheet, contact_sheet
from mien.service.commands.embed import files_of
from mien.service.commands.terminal import console, output, progress_bar
from mien.service.inference.engine import Ask, Engine, Placed
from mien.service.inference.served_gallery import open_store
from mien.service.schemas.faces import ClassifiedFace
from mien.service.settings import Settings

Form = Literal["table", "json", "csv"]
"""How answers are written."""

_NEAREST_SHOWN = 3


def classify_paths(
    paths: Sequence[Path], bundle: Path, limits: DecodingLimits, form: Form, *, already_cropped: bool
) -> int:
    """``mien classify``: 0 when a face was named, else 1.

    Raises:
        ArtifactError: the bundle cannot be used.
    """
    engine = _engine(bundle, limits)
    files = list(files_of(paths))
    rows: list[dict[str, Any]] = []
    with progress_bar() as bar:
        task = bar.add_task("classifying", total=len(files), note="")
        for path, faces, placed in _placed(engine, files, already_cropped=already_cropped):
            if placed is not None:
                named = engine.classified(faces, placed).faces
                rows += [_named(path, number, face) for number, face in enumerate(named)]
            bar.advance(task)
    if form == "json":
        _write(json.dumps(rows, indent=1))
    elif form == "csv":
        _write(_csv([_flat(row) for row in rows]))
    elif rows:
        output.print(_classified_table(rows))
    return 0 if rows else 1


def retrieve_image(
    path: Path,
    bundle: Path,
    limits: DecodingLimits,
    form: Form,
    *,
    k: int,
    already_cropped: bool,
    gallery: str | None = None,
    sheet: Path | None = None,
) -> int:
    """``mien retrieve``: 0 when a face was found, else 1.

    Args:
        path: of the picture.
        bundle: what answers.
        limits: of what is decoded.
        form: how the answer is written.
        k: matches of each face.
        already_cropped: whether the picture is a face crop.
        gallery: folder or address of the owner's gallery; None searches the bundle's.
        sheet: where a contact sheet is written; None writes none.

    Raises:
        ArtifactError: the bundle or the gallery cannot be used.
        ConfigError: there is no such gallery, or the sheet is not named as a PNG file.
        QueryError: k is out of range, or the sheet cannot be drawn.
    """
    if sheet is not None:
        check_sheet(sheet, k)
    engine = _engine(bundle, limits, gallery)
    engine.check_k(k)
    rows: list[dict[str, Any]] = []
    for _, faces, placed in _placed(engine, [path], already_cropped=already_cropped, k=k):
        if placed is None:
            continue
        answers = engine.retrieved(faces, placed).faces
        if sheet is not None:
            contact_sheet(engine, faces, answers).save(sheet, "PNG")
        for number, face in enumerate(answers):
            rows += [
                {"face": number, "face_emotion": face.emotion, "rank": rank, **match.model_dump(mode="json")}
                for rank, match in enumerate(face.matches, 1)
            ]
    if engine.owned is not None:
        engine.owned.close()
    if form == "json":
        _write(json.dumps(rows, indent=1))
    elif form == "csv":
        _write(_csv([row | {"metadata": json.dumps(row["metadata"])} for row in rows]))
    elif rows:
        output.print(_matches_table(path, rows))
    return 0 if rows else 1


def _engine(bundle: Path, limits: DecodingLimits, gallery: str | None = None) -> Engine:
    """What answers; no setting of the environment counts here."""
    loaded = load_bundle(bundle)
    pipeline = load_pipeline(loaded.embedder_path, limits=limits)
    if gallery is None:
        return Engine(loaded, pipeline, max_k=len(loaded.gallery))
    if "://" not in gallery and not Path(gallery).is_dir():  # opening it would make an empty one
        raise ConfigError(f"expected the folder of a gallery, got {gallery}, which is not there")
    settings = Settings(bundle=bundle, gallery=gallery)
    return Engine(loaded, pipeline, max_k=settings.max_k, gallery=open_store(settings, loaded))


def _placed(
    engine: Engine, files: Sequence[Path], *, already_cropped: bool, k: int | None = None
) -> Iterator[tuple[Path, list[Face], Placed | None]]:
    """The faces of each file and where they lie; a file that gives none is reported and comes without faces."""
    for path in files:
        try:
            faces = engine.pipeline.read_faces(read_file(path, engine.pipeline.limits), already_cropped=already_cropped)
        except (ImageError, OSError) as error:
            reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
            console.print(f"left out {path}: {reason}", markup=False)
            yield path, [], None
            continue
        yield path, faces, engine.answer([Ask(crops=np.stack([face.crop for face in faces]), k=k)])[0]


def _named(path: Path, number: int, face: ClassifiedFace) -> dict[str, Any]:
    row: dict[str, Any] = {"path": str(path), "face": number}
    return row | face.model_dump(mode="json")


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """A row without nesting: the box and the posterior get a column for each of their numbers."""
    flat = {key: value for key, value in row.items() if key not in ("box", "posterior")}
    flat |= dict(zip(("x", "y", "width", "height"), row["box"], strict=True))
    flat |= row["posterior"]
    return flat


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO(newline="")
    if rows:
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue().rstrip("\n")


def _write(text: str) -> None:
    """Text for other programs: as it is, without colours or line breaks of a terminal."""
    output.print(text, markup=False, soft_wrap=True)


def _classified_table(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table("file", "face", "emotion", "probability", "next", "typicality")
    for row in rows:
        (_, first), (second, share), *_ = sorted(row["posterior"].items(), key=lambda pair: -pair[1])
        table.add_row(
            row["path"],
            str(row["face"]),
            row["emotion"] if row["known"] else f"{row['emotion']}?",
            f"{first:.2f}",
            f"{second} {share:.2f}",
            f"{row['typicality']:.2f}" + ("" if row["known"] else " (no known expression)"),
        )
    return table


def _matches_table(path: Path, rows: Sequence[dict[str, Any]]) -> Table:
    table = Table("face", "rank", "match", "distance", "emotion", "votes", title=str(path))
    for row in rows:
        votes = sorted(row["metadata"].get("votes", {}).items(), key=lambda pair: -pair[1])[:_NEAREST_SHOWN]
        table.add_row(
            f"{row['face']} ({row['face_emotion']})",
            str(row["rank"]),
            row["id"],
            f"{row['distance']:.3f}",
            row["emotion"],
            ", ".join(f"{name} {count}" for name, count in votes),
        )
    return table
