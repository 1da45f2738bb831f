"""``mien serve``: the service on uvicorn."""

import logging
import warnings

import uvicorn

from service.app import create_app
from service.engine import load_engine
from service.settings import Settings
from service.terminal import console


def serve(settings: Settings) -> int:
    """Load the bundle, then serve until told to stop.

    Raises:
        ArtifactError: the bundle or the detector cannot be used; nothing has been served.
        ConfigError: the provider is not installed.
    """
    _keep_uploads_out_of_the_log()
    engine = load_engine(settings)
    console.print(f"mien serves {settings.bundle} with {len(engine.bundle.gallery)} faces", markup=False)
    uvicorn.run(create_app(engine, settings), host=settings.host, port=settings.port, log_level=settings.log_level)
    return 0


def _keep_uploads_out_of_the_log() -> None:
    """Libraries that read uploads say what they met there, and whoever sends them chooses what that is."""
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"PIL\..*")
