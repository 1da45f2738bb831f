"""``mien gallery``: maintenance of a gallery; a service may have it open meanwhile."""

import argparse
from typing import Final

from mien.service.commands.sub_commands import add_sub_commands

ACTIONS: Final = {
    "import": ("gallery.import_faces", "Add faces from folders, tables (CSV, Parquet) or archives (faces.npz)."),
    "list": ("gallery.list_faces", "List the faces, or those that are selected by label, emotion, person or time."),
    "show": ("gallery.show", "Show a face and the faces nearest to it; prints JSON."),
    "delete": ("gallery.delete", "Delete faces by their ids, or all that are selected."),
    "export": ("gallery.export", "Write all faces, with their embeddings, to a Parquet file."),
    "snapshot": ("gallery.snapshot", "Write the gallery as it is at this moment to a new folder."),
    "restore": ("gallery.restore", "Replace the gallery's content by that of a snapshot."),
    "re-embed": ("gallery.re_embed", "Embed a gallery again, by the bundle's network, into a new folder."),
    "migrate": ("gallery.migrate", "Copy all faces to another gallery; a run that was interrupted continues."),
    "check": ("gallery.check", "Check each face, memory against database, and approximate search; prints JSON."),
}
"""Each action's module in ``mien.service.commands``, and its summary."""


def add_options(parser: argparse.ArgumentParser) -> None:
    add_sub_commands(parser, "action", ACTIONS)
