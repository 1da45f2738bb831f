"""``mien serve``: serves a bundle over HTTP."""

import argparse
import os

# NumPy reads it when it is imported. The service has a thread for each core, and does not need one for each in each.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from mien.service.commands.options import add_config_options, given_options
from mien.service.settings import Settings, read_settings


def add_options(parser: argparse.ArgumentParser) -> None:
    add_config_options(parser, Settings)


def run(arguments: argparse.Namespace) -> int:
    """Serve until the process is stopped."""
    from mien.service.server import serve

    return serve(read_settings(os.environ, **given_options(arguments, Settings)))
