"""The commands from photographs with votes to a bundle with scores: train, export, build, discover, evaluate."""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any, Final

from rich.table import Table

from mien.index.bundle.bundle import check_fits, load_bundle, record_scores
from mien.index.bundle.manifest import EMBEDDER
from mien.index.fitting.discovery import DiscoveryConfig
from mien.model.datasets.ferplus import Split, read_ferplus, read_near_copies
from mien.model.embedder.embedder import Embedder
from mien.model.errors import ConfigError
from mien.model.training.config import TrainingConfig
from mien.service.commands.terminal import console, output, progress_bar, staged_bar

_TRAINING_PARTS: Final = ("torch", "onnx", "onnxscript", "sklearn", "matplotlib")


def train(
    data: Path,
    folder: Path,
    config: TrainingConfig,
    device: str,
    *,
    initial: Path | None,
    sub_classes: Path | None,
    teachers: Sequence[Path],
    resume: bool,
) -> int:
    """``mien train``."""
    require_training_parts()
    from mien.index.evaluation import plots
    from mien.model.training import train
    from mien.model.training.checkpoint import read_checkpoint
    from mien.model.training.state import EpochReport
    from mien.model.training.targets import read_sub_classes

    chosen = train.choose_device(device)
    faces, validation = read_ferplus(data, "Training"), read_ferplus(data, "PublicTest")
    near_copies = read_near_copies(data)
    with progress_bar() as bar:
        task = bar.add_task("training", total=None, note="")

        def on_progress(progress: train.Progress) -> None:
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

        path = train.train(
            faces,
            near_copies.without_leaks(validation),
            config,
            folder,
            device=chosen,
            initial=initial,
            sub_classes=read_sub_classes(sub_classes) if sub_classes is not None else None,
            teachers=teachers,
            resume=resume,
            on_progress=on_progress,
            on_epoch=on_epoch,
        )
    reports = [EpochReport(**report) for report in read_checkpoint(path)["reports"]]
    plots.training_curves(folder / "curves.png", reports)
    output.print(str(path), soft_wrap=True)
    return 0


def export(checkpoints: Sequence[Path], network: Path, *, mirror: bool) -> int:
    """``mien export``."""
    require_training_parts()
    from mien.model.export.export import export as write_network

    difference = write_network(checkpoints, network, mirror=mirror)
    console.print(f"{network}: differs from torch by at most {difference:.1e} embedding units")
    return 0


def quantise(network: Path, data: Path | None, output_path: Path, *, half: bool) -> int:
    """``mien quantise``.

    Raises:
        ConfigError: faces are needed, and not named.
    """
    require_training_parts()
    if half:
        from mien.model.export.float16 import halve

        halve(network, output_path)
    elif data is None:
        raise ConfigError("int8 needs faces to measure ranges on: name them with --data, or ask for --half")
    else:
        from mien.model.export.int8 import quantise as write_network

        faces = read_ferplus(data, "Training")
        with progress_bar() as bar:
            task = bar.add_task("measuring ranges", total=None, note="")
            write_network(
                network,
                faces.images,
                output_path,
                lambda done, total: bar.update(task, completed=done, total=total),
            )
    before, after = (path.stat().st_size / 2**20 for path in (network, output_path))
    console.print(f"{output_path}: {after:.1f} MiB, {before:.1f} before")
    return 0


def build(network: Path, data: Path, folder: Path) -> int:
    """``mien build``."""
    from mien.index.fitting.build import build_bundle

    faces = read_ferplus(data, "Training")
    with progress_bar() as bar:
        task = bar.add_task("embedding", total=None, note="")
        manifest = build_bundle(
            network, faces, folder, on_progress=lambda done, total: bar.update(task, completed=done, total=total)
        )
    size = sum(path.stat().st_size for path in folder.iterdir()) / 2**20
    console.print(f"{folder}: {manifest.made_from['gallery_faces']} faces in the gallery, {size:.1f} MiB")
    return 0


def calibrate(bundle: Path, data: Path) -> int:
    """``mien calibrate``."""
    from mien.index.fitting.calibrate import calibrate_bundle

    training, validation = read_ferplus(data, "Training"), read_ferplus(data, "PublicTest")
    with progress_bar() as bar:
        task = bar.add_task("embedding", total=None, note="")
        manifest = calibrate_bundle(
            bundle,
            training,
            validation,
            read_near_copies(data),
            "FER+ PublicTest",
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    output.print(_calibration_table(manifest.calibration or {}))
    console.print(f"{bundle} is calibrated; its scores were of before: mien evaluate --record takes new ones")
    return 0


def discover(
    bundle_folder: Path, data: Path, folder: Path, config: DiscoveryConfig, previous_folder: Path | None
) -> int:
    """``mien discover``."""
    from mien.index.fitting.discover import discover_in_bundle

    bundle = load_bundle(bundle_folder)
    embedder = Embedder(bundle.embedder_path)
    check_fits(bundle, embedder)
    previous = load_bundle(previous_folder).subclasses if previous_folder is not None else bundle.subclasses
    if previous is None and previous_folder is not None:
        raise ConfigError(f"--previous: {previous_folder} has no sub-classes")
    with staged_bar("reading") as (on_stage, on_progress):
        training, validation = read_ferplus(data, "Training"), read_ferplus(data, "PublicTest")
        found, report = discover_in_bundle(
            bundle,
            embedder,
            training=training,
            validation=validation,
            near_copies=read_near_copies(data),
            config=config,
            folder=folder,
            previous=previous,
            on_stage=on_stage,
            on_progress=on_progress,
        )
    table = Table("sub-class", "share", "faces", "votes differ from its siblings' by")
    for each in report["each"]:
        table.add_row(each["id"], f"{each['weight']:.2f}", str(each["gallery_faces"]), _differences(each))
    output.print(table)
    output.print(_worth(report))
    console.print(f"{bundle_folder}: {len(found.subclasses)} sub-classes; contact sheets and assignments: {folder}")
    return 0


def _differences(described: dict[str, Any]) -> str:
    ordered = sorted(described["difference_from_siblings"].items(), key=lambda pair: -abs(pair[1]))
    return ", ".join(f"{share:+.0%} {name}" for name, share in ordered[:3] if abs(share) >= 0.01)


def _worth(report: dict[str, Any]) -> Table:
    held_out, stable = report["held_out"], report["agreement_between_seeds"]
    table = Table("figure", "sub-classes", "one per emotion", title=f"{held_out['faces']} held-out faces")
    if stable is not None:
        table.add_row("adjusted Rand index between seeds", f"{stable:.3f}", "")
    if held_out["faces"]:
        for name, figure, other in (
            ("log-likelihood of a face, nats", "log_likelihood_sub_classes", "log_likelihood_one_gaussian"),
            ("squared error of forecast votes", "vote_forecast_error_sub_class", "vote_forecast_error_emotion"),
        ):
            table.add_row(name, f"{held_out[figure]:.4f}", f"{held_out[other]:.4f}")
    if held_out.get("second_choice"):
        second = held_out["second_choice"]
        for name, figure in (("any face", "any_of_the"), ("10 nearest", "nearest_of_the")):
            table.add_row(
                f"has the query's second choice: {name}",
                f"{second[f'{figure}_sub_class']:.4f}",
                f"{second[f'{figure}_emotion']:.4f}",
            )
    return table


def evaluate(bundle_folder: Path, data: Path, split: Split, folder: Path, *, record: bool) -> int:
    """``mien evaluate``."""
    require_training_parts()
    from mien.index.evaluation import evaluate as evaluation
    from mien.index.evaluation.summary import headline

    bundle = load_bundle(bundle_folder)
    embedder = Embedder(bundle_folder / EMBEDDER)
    check_fits(bundle, embedder)
    with staged_bar("reading") as (on_stage, on_progress):
        faces, near_copies = read_ferplus(data, split), read_near_copies(data)
        scores, embeddings, labels = evaluation.evaluate(
            bundle, embedder, faces, near_copies, f"FER+ {split}", on_stage=on_stage, on_progress=on_progress
        )
    path = evaluation.save_scores(folder, scores)
    evaluation.save_table(folder, scores)
    evaluation.save_plots(folder, bundle, scores, embeddings, labels)
    if record:
        record_scores(bundle.folder, scores)
    title = f"{scores['dataset']}, {len(labels)} faces with a strict majority"
    table = Table("metric", "value", "95 % interval", title=title)
    for name, value, interval in headline(scores):
        table.add_row(name, f"{value:.4f}", f"[{interval.low:.4f}, {interval.high:.4f}]" if interval else "")
    output.print(table)
    console.print(f"all scores: {path}")
    return 0


def _calibration_table(calibration: dict[str, Any]) -> Table:
    posterior, votes, typical = (calibration[part] for part in ("posterior", "vote_shares", "typicality"))
    sigma, far = calibration["sigma"], typical["distance_from_uniform"]
    table = Table(
        "figure", "before", "cross-fitted", "as served", title=f"{calibration['dataset']}, {calibration['faces']} faces"
    )
    stages = ("trained_sigma", "cross_fitted", "as_served")
    for name, figure in (
        ("expected calibration error", "expected_calibration_error"),
        ("what chance leaves of it", "chance_calibration_error"),
        ("negative log-likelihood of the label", "negative_log_likelihood"),
        ("KL divergence of the posterior from the votes", "kl_divergence"),
        ("Brier score of the posterior against the votes", "brier_score"),
    ):
        table.add_row(name, *(f"{posterior[stage][figure]:.4f}" for stage in stages))
    for name, figure in (
        ("KL divergence of expected votes", "kl_divergence"),
        ("Brier score of expected votes", "brier_score"),
    ):
        table.add_row(name, *(f"{votes[stage][figure]:.4f}" for stage in stages))
    table.add_row("sigma of the posterior", f"{sigma['trained']:.4f}", "", f"{sigma['labels']:.4f}")
    table.add_row("sigma of expected votes", f"{sigma['trained']:.4f}", "", f"{sigma['votes']:.4f}")
    table.add_row(
        "typicality: distance from uniform", f"{far['on_the_scale_of_training']:.4f}", f"{far['cross_fitted']:.4f}", ""
    )
    table.add_row("faces kept", "", f"{typical['kept_cross_fitted']:.4f}", f"{typical['kept']:.4f}")
    return table


def ablate(
    data: Path,
    folder: Path,
    config: TrainingConfig,
    device: str,
    *,
    initial: Path | None,
    faces: int | None,
    seeds: Sequence[int],
) -> int:
    """``mien ablate``."""
    require_training_parts()
    from mien.index.evaluation import ablation, plots
    from mien.model.training.train import Progress

    def on_row(row: ablation.AblationRow) -> None:
        bar.console.print(
            f"{row.name}, seed {row.seed}: accuracy {row.accuracy:.3f}, mAP {row.mean_average_precision:.3f}, "
            f"{row.seconds:.0f} s"
        )

    with progress_bar() as bar:
        networks = bar.add_task("networks", total=None, note="")
        steps = bar.add_task("training", total=None, note="")

        def on_trial(name: str, done: int, total: int) -> None:
            bar.update(networks, completed=done, total=total, note=name)
            bar.reset(steps, total=None)

        def on_step(progress: Progress) -> None:
            done = (progress.epoch - 1) * progress.steps + progress.step
            bar.update(steps, completed=done, total=progress.epochs * progress.steps, note=f"loss {progress.loss:.4f}")

        rows = ablation.ablate(
            read_ferplus(data, "Training"),
            read_ferplus(data, "PublicTest"),
            read_near_copies(data),
            config,
            folder,
            device=device,
            initial=initial,
            seeds=seeds,
            faces=faces,
            on_trial=on_trial,
            on_step=on_step,
            on_row=on_row,
        )
    table = Table("loss", "seeds", *ablation.FIGURES, title="Ablation: mean over the seeds")
    for name, each in ablation.by_name(rows).items():
        means = (mean(getattr(row, field) for row in each) for field in ablation.FIGURES.values())
        table.add_row(name, str(len(each)), *(f"{value:.3f}" for value in means))
    output.print(table)
    plots.ablation_table(
        folder / "ablation.png",
        {
            title: {name: [getattr(row, field) for row in each] for name, each in ablation.by_name(rows).items()}
            for title, field in ablation.FIGURES.items()
        },
    )
    console.print(f"all figures: {folder / ablation.ABLATION_NAME}")
    return 0


def require_training_parts() -> None:
    """Refuse a command that trains where the extra is not installed.

    Raises:
        ConfigError: a part of it is missing.
    """
    from importlib.util import find_spec

    missing = [name for name in _TRAINING_PARTS if find_spec(name) is None]
    if missing:
        raise ConfigError(f"this command needs {', '.join(missing)}: install mien with the extra 'train'")
