"""``mien gallery show``: a face of a gallery, and the faces nearest to it."""

import argparse
from pathlib import Path

from mien.service.commands.gallery.place import add_place_options, open_place
from mien.service.commands.terminal import write_json


def add_options(parser: argparse.ArgumentParser) -> None:
    add_place_options(parser)
    parser.add_argument("id", metavar="ID", help="The id of the face.")
    parser.add_argument("--neighbours", type=int, default=5, metavar="N", help="Nearest faces (default: 5).")
    parser.add_argument("--thumbnail", type=Path, metavar="FILE", help="File to write its thumbnail to.")


def run(arguments: argparse.Namespace) -> int:
    """Write the face as JSON; 1 if its thumbnail is asked for and there is none."""
    from mien.index.gallery.store import SearchOptions
    from mien.service.schemas.gallery import gallery_face

    with open_place(arguments, create=False) as (gallery, bundle, _):
        face = gallery.get(arguments.id)
        near = []
        if arguments.neighbours > 0:
            others = SearchOptions(exclude_ids=frozenset({face.id}))
            (near,) = gallery.search(face.embedding[None], arguments.neighbours, others).matches
    neighbours = [
        {
            "id": each.face.id,
            "distance": round(each.distance, 3),
            "label": each.face.label,
            "emotion": each.face.emotion,
        }
        for each in near
    ]
    write_json(gallery_face(face, bundle.sub_class_names).model_dump(mode="json") | {"neighbours": neighbours})
    if arguments.thumbnail is None:
        return 0
    if face.thumbnail is not None:
        arguments.thumbnail.write_bytes(face.thumbnail)
    return 0 if face.thumbnail is not None else 1
