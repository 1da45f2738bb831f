"""The commands from photographs with votes to a bundle with scores: train, export, build, evaluate."""

from pathlib import Path
from typing import Final

from rich.table import Table

from index.bundle import EMBEDDER, check_fits, load_bundle
from model.configuration import TrainingConfig
from model.embedder import Embedder
from model.errors import ConfigError
from model.ferplus import Split, read_ferplus, read_near_copies
from service.terminal import console, output, progress_bar

_TRAINING_PARTS: Final = ("torch", "onnx", "onnxscript", "sklearn", "matplotlib")


def train(data: Path, folder: Path, config: TrainingConfig, device: str, *, resume: bool) -> int:
    """``mien train``."""
    _require_training_parts()
    from index import plots
    from model import training
    from model.checkpoint import read_checkpoint
    from model.run import EpochReport

    chosen = training.choose_device(device)
    faces, validation = read_ferplus(data, "Training"), read_ferplus(data, "PublicTest")
    near_copies = read_near_copies(data)
    with progress_bar() as bar:
        task = bar.add_task("training", total=None, note="")

        def on_progress(progress: training.Progress) -> None:
            bar.update(
                task,
                description=f"epoch {progress.epoch}/{progress.epochs}",
                completed=progress.step,
                total=progress.steps,
                note=f"loss {progress.loss:.4f}, {progress.faces_per_s:.0f} faces/s",
            )

        def on_epoch(report: EpochReport) -> None:
            console.print(
                f"epoch {report.epoch}: loss {report.loss:.4f}, "
                f"validation accuracy {report.validation_accuracy:.4f}, {report.seconds:.0f} s"
            )

        path = training.train(
            faces,
            near_copies.without_leaks(validation),
            config,
            folder,
            device=chosen,
            resume=resume,
            on_progress=on_progress,
            on_epoch=on_epoch,
        )
    reports = [EpochReport(**report) for report in read_checkpoint(path)["reports"]]
    plots.training_curves(folder / "curves.png", reports)
    output.print(str(path), soft_wrap=True)
    return 0


def export(checkpoint: Path, network: Path, *, mirror: bool) -> int:
    """``mien export``."""
    _require_training_parts()
    from model.export import export as write_network

    difference = write_network(checkpoint, network, mirror=mirror)
    console.print(f"{network}: differs from torch by at most {difference:.1e} embedding units")
    return 0


def build(network: Path, data: Path, folder: Path) -> int:
    """``mien build``."""
    from index.build import build_bundle

    faces = read_ferplus(data, "Training")
    with progress_bar() as bar:
        task = bar.add_task("embedding", total=None, note="")
        manifest = build_bundle(
            network, faces, folder, on_progress=lambda done, total: bar.update(task, completed=done, total=total)
        )
    size = sum(path.stat().st_size for path in folder.iterdir()) / 2**20
    console.print(f"{folder}: {manifest.made_from['gallery_faces']} faces in the gallery, {size:.1f} MiB")
    return 0


def evaluate(bundle_folder: Path, data: Path, split: Split, folder: Path, *, record: bool) -> int:
    """``mien evaluate``."""
    _require_training_parts()
    from index import evaluate as evaluation

    bundle = load_bundle(bundle_folder)
    embedder = Embedder(bundle_folder / EMBEDDER)
    check_fits(bundle, embedder)
    with console.status("reading"):
        faces, near_copies = read_ferplus(data, split), read_near_copies(data)
    with console.status("embedding") as status:
        scores, embeddings, labels = evaluation.evaluate(
            bundle, embedder, faces, near_copies, f"FER+ {split}", on_stage=status.update
        )
    path = evaluation.save_scores(folder, scores)
    evaluation.save_plots(folder, bundle, scores, embeddings, labels)
    if record:
        evaluation.record_scores(bundle, scores)
    table = Table("metric", "value", title=f"{scores['dataset']}, {len(labels)} faces with a strict majority")
    for name, value in evaluation.headline(scores):
        table.add_row(name, f"{value:.4f}")
    output.print(table)
    console.print(f"all scores: {path}")
    return 0


def _require_training_parts() -> None:
    from importlib.util import find_spec

    missing = [name for name in _TRAINING_PARTS if find_spec(name) is None]
    if missing:
        raise ConfigError(f"this command needs {', '.join(missing)}: install mien with the extra 'train'")
