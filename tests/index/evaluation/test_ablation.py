from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mien.index.evaluation.ablation import (
    ABLATION_NAME,
    DECISIVE,
    ROWS,
    AblationRow,
    ablate,
    by_name,
    choose_rows,
    read_rows,
)
from mien.model.datasets.ferplus import LabelledFaces, NearCopies
from mien.model.errors import ConfigError, DatasetError
from mien.model.networks.config import NetworkConfig
from mien.model.training.config import TrainingConfig

MakeFaces = Callable[..., LabelledFaces]

CONFIG = TrainingConfig(
    network=NetworkConfig(widths=(8, 16), blocks=(1, 1), dropout=0.0), epochs=1, batch_size=32, warmup_epochs=0.0
)
TRIALS = {name: ROWS[name] for name in ("+ votes as targets", "softmax cross-entropy")}


def run(folder: Path, make_faces: MakeFaces, **options: Any) -> list[AblationRow]:
    training, validation = make_faces(240, seed=1), make_faces(80, seed=2)
    copies = NearCopies({}, frozenset())
    return ablate(training, validation, copies, CONFIG, folder, device="cpu", trials=TRIALS, **options)


def test_rows_are_valid_and_different_settings() -> None:
    configs = [TrainingConfig.model_validate(CONFIG.model_dump() | changes) for changes in ROWS.values()]
    assert len({config.model_dump_json() for config in configs}) == len(ROWS)  # no two rows are the same training
    assert set(DECISIVE) < ROWS.keys()


def test_rows_can_be_chosen() -> None:
    assert choose_rows(None) == ROWS
    assert tuple(choose_rows(["decisive"])) == DECISIVE
    names = ["+ prior in training", "decisive", "+ balanced batches, as in the paper"]
    chosen = choose_rows(names)
    assert set(chosen) == {*DECISIVE, names[0], names[2]}
    assert chosen[names[0]] == {"loss": "gaussian", "prior_power": 1.0}
    with pytest.raises(ConfigError, match=r"a row must be decisive or one of .*, got triplets"):
        choose_rows(["triplets"])


def test_rows_are_trained_scored_and_kept(tmp_path: Path, make_faces: MakeFaces) -> None:
    reported: list[AblationRow] = []
    rows = run(tmp_path, make_faces, seeds=(3, 4), on_row=reported.append)
    assert [(row.name, row.seed) for row in rows] == [
        ("+ votes as targets", 3),
        ("+ votes as targets", 4),
        ("softmax cross-entropy", 3),  # not decisive: the first seed alone
    ]
    assert rows == reported == read_rows(tmp_path / ABLATION_NAME)
    for row in rows:
        shares = (row.accuracy, row.accuracy_neighbours, row.accuracy_softmax_head, row.recall_at_1, row.auroc)
        assert all(0 < share <= 1 for share in shares)
        assert row.seconds > 0
    assert rows[0].mean_average_precision != rows[1].mean_average_precision
    assert {name: len(each) for name, each in by_name(rows).items()} == {
        "+ votes as targets": 2,
        "softmax cross-entropy": 1,
    }

    again: list[AblationRow] = []
    assert run(tmp_path, make_faces, seeds=(3, 4), on_row=again.append) == rows
    assert again == []  # nothing is trained twice


def test_other_table_is_refused(tmp_path: Path, make_faces: MakeFaces) -> None:
    (tmp_path / ABLATION_NAME).write_text("name,seed,accuracy\nx,1,0.5\n")
    with pytest.raises(DatasetError, match="is not the table of an ablation"):
        run(tmp_path, make_faces)
