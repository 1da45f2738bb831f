"""The commands that need no server, such as ``mien embed`` and ``mien classify``."""

import argparse
import sys
from pathlib import Path

from mien.model.faces.decoding import DecodingLimits
from mien.service.commands.command import DONE, Command, add_bundle_option
from mien.service.commands.embed import embed_paths
from mien.service.commands.options import add_options, read_options


def add_commands(command: Command) -> None:
    """Add them."""
    embed = command("embed", _embed, "Embed the faces of images into a NumPy archive.")
    embed.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="Images, or folders of images.")
    embed.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="Archive to write, such as faces.npz."
    )
    embed.add_argument("--already-cropped", action="store_true", help="The images are face crops: nothing is detected.")
    add_bundle_option(embed)
    add_options(embed, DecodingLimits)

    classify = command("classify", _classify, "Name the emotion of each face of images, without a server.")
    classify.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="Images, or folders of images.")
    _add_local_options(classify)

    retrieve = command(
        "retrieve", _retrieve, "Find the nearest expressions for the faces of an image, without a server."
    )
    retrieve.add_argument("image", type=Path, metavar="IMAGE", help="A photograph or a face crop.")
    retrieve.add_argument("-k", type=int, default=10, metavar="N", help="Matches for each face (default: 10).")
    retrieve.add_argument(
        "--gallery", metavar="PLACE", help="Folder, or address, of your own gallery (default: the bundle's)."
    )
    retrieve.add_argument(
        "--contact-sheet",
        type=Path,
        metavar="FILE",
        help="PNG file to draw: each face and its matches, as portraits or, where the gallery keeps them, thumbnails.",
    )
    _add_local_options(retrieve)

    groups = command("groups", _groups, "Measure how a bundle behaves on groups of people, with intervals.")
    groups.add_argument(
        "table",
        type=Path,
        metavar="TABLE",
        help="CSV with the columns image, label and subject; every further one, such as gender, divides people.",
    )
    groups.add_argument("--markdown", type=Path, metavar="FILE", help="Also write the figures as a document.")
    groups.add_argument("--json", dest="as_json", action="store_true", help="Write JSON.")
    add_bundle_option(groups)
    add_options(groups, DecodingLimits)

    add_bundle_option(command("doctor", _doctor, "Look at this installation, and say what to do about what is found."))
    inventory = command("inventory", _inventory, "Print what this installation consists of, versions and licences.")
    _add_inventory_options(inventory)


def _add_local_options(parser: argparse.ArgumentParser) -> None:
    form = parser.add_mutually_exclusive_group()
    for name, summary in (("json", "Write JSON."), ("csv", "Write CSV.")):
        form.add_argument(f"--{name}", dest="form", action="store_const", const=name, default="table", help=summary)
    parser.add_argument("--already-cropped", action="store_true", help="Face crops: nothing is detected.")
    add_bundle_option(parser)
    add_options(parser, DecodingLimits)


def _add_inventory_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--format",
        choices=("table", "cyclonedx", "licences"),
        default="table",
        help="A table, a CycloneDX bill of materials, or the licence texts (default: table).",
    )


def _embed(arguments: argparse.Namespace) -> int:
    return embed_paths(
        arguments.paths,
        arguments.output,
        arguments.bundle,
        read_options(arguments, DecodingLimits),
        already_cropped=arguments.already_cropped,
    )


def _inventory(arguments: argparse.Namespace) -> int:
    from mien.service.operation import inventory

    if arguments.format == "licences":
        text = inventory.as_licences()
    else:
        parts = inventory.parts()
        text = inventory.as_table(parts) if arguments.format == "table" else inventory.as_cyclonedx(parts)
    sys.stdout.write(text + "\n")
    return DONE


def _classify(arguments: argparse.Namespace) -> int:
    from mien.service.commands.local import classify_paths

    return classify_paths(
        arguments.paths,
        arguments.bundle,
        read_options(arguments, DecodingLimits),
        arguments.form,
        already_cropped=arguments.already_cropped,
    )


def _retrieve(arguments: argparse.Namespace) -> int:
    from mien.service.commands.local import retrieve_image

    return retrieve_image(
        arguments.image,
        arguments.bundle,
        read_options(arguments, DecodingLimits),
        arguments.form,
        k=arguments.k,
        already_cropped=arguments.already_cropped,
        gallery=arguments.gallery,
        sheet=arguments.contact_sheet,
    )


def _groups(arguments: argparse.Namespace) -> int:
    from mien.service.commands.groups import groups

    return groups(
        arguments.table,
        arguments.bundle,
        read_options(arguments, DecodingLimits),
        markdown=arguments.markdown,
        as_json=arguments.as_json,
    )


def _doctor(arguments: argparse.Namespace) -> int:
    from mien.service.commands.doctor import doctor

    return doctor(arguments.bundle)
