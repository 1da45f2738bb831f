"""What training resumes from: one file of tensors and numbers, written whole or not at all."""

from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, ValidationError

from mien.model.errors import CheckpointError, first_fault
from mien.model.files import written_whole

Config = TypeVar("Config", bound=BaseModel)


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write ``state``, tensors and plain values, to ``path``, whole or not at all.

    Raises:
        CheckpointError: it could not be written, for a full disk for example; an earlier checkpoint stays as it was.
    """
    try:
        with written_whole(path) as file:
            torch.save(state, file)
    except (OSError, RuntimeError) as error:  # torch reports what the disk says as a RuntimeError
        kept = "the one before stays" if path.exists() else "there is none yet"
        raise CheckpointError(f"the checkpoint {path} could not be written ({kept}): {error}") from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read what ``write_checkpoint`` wrote, without running code from the file.

    Raises:
        CheckpointError: the file is missing, broken, or no checkpoint of mien.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"no checkpoint at {path}") from None
    except Exception as error:  # torch.load raises whatever its unpickler meets
        raise CheckpointError(f"{path} is not a checkpoint of mien: {type(error).__name__}") from error
    if not isinstance(state, dict) or not {"config", "network", "average"} <= state.keys():
        raise CheckpointError(f"{path} is not a checkpoint of mien: it lacks the network or its configuration")
    return state


def config_of(path: Path, state: dict[str, Any], kind: type[Config]) -> Config:
    """The configuration inside a checkpoint.

    Raises:
        CheckpointError: it is not a configuration of this version of mien.
    """
    try:
        return kind.model_validate(state["config"])
    except ValidationError as error:
        raise CheckpointError(f"{path} was made by another version of mien: {first_fault(error)}") from None
