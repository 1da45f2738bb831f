"""``mien portraits``: faces of nobody for a bundle's gallery of embeddings."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from mien.index.bundle.bundle import load_bundle
from mien.index.bundle.manifest import PORTRAITS
from mien.model.datasets.ferplus import read_ferplus
from mien.model.portraits.config import PortraitConfig
from mien.service.commands.terminal import console, output, progress_bar

if TYPE_CHECKING:
    from mien.model.portraits.train import Step


def portraits(bundle_folder: Path, data: Path, config: PortraitConfig) -> int:
    """``mien portraits``.

    Raises:
        BundleError: the folder is no bundle.
        DatasetError: the data set is not in its owner's layout, or has no face that can be used.
        OSError: the bundle cannot be written.
    """
    from mien.index.fitting.portraits import portray_bundle

    faces = read_ferplus(data, "Training")
    with progress_bar() as bar:
        aligning = bar.add_task("aligning", total=None, note="")
        training = bar.add_task("training", total=None, note="")

        def on_step(step: "Step") -> None:
            note = f"pixels {step.pixels:.3f}, read {step.reading:.2f}, named {step.naming:.2f}"
            bar.update(training, completed=step.number, total=step.total, note=note)

        found = portray_bundle(
            bundle_folder,
            faces,
            config,
            on_faces=lambda done, total: bar.update(aligning, completed=done, total=total),
            on_step=on_step,
        )
    bundle = load_bundle(bundle_folder)
    table = Table("centroid", "read again", title="portraits of the centroids, as the embedder reads them")
    for painted, read in zip(bundle.mixture.emotions, found.emotions, strict=True):
        table.add_row(painted, read)
    for painted, read in found.sub_classes.items():
        table.add_row(painted, read)
    output.print(table)
    size = (bundle_folder / PORTRAITS).stat().st_size / 2**20
    console.print(f"{bundle_folder / PORTRAITS}: {size:.1f} MiB", markup=False)
    return 0
