import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mien.index.bundle import npz
from mien.index.bundle.bundle import check_fits, load_bundle, replace_mixture
from mien.index.bundle.default import default_bundle
from mien.index.bundle.manifest import (
    EMBEDDER,
    FILES,
    GALLERY,
    MANIFEST,
    MIXTURE,
    read_manifest,
    write_manifest,
)
from mien.index.bundle.mixture_npz import CALIBRATION_ARRAYS
from mien.index.errors import BundleError
from mien.index.mixture.background import Background
from mien.index.mixture.mixture import Calibration
from mien.model.embedder.embedder import Embedder
from mien.model.emotions import EMOTIONS
from mien.model.files import sha256_of
from tests.support.small_run import SmallRun


@pytest.fixture
def bundle(small_run: SmallRun, tmp_path: Path) -> Path:
    """A copy of the small bundle, to change."""
    return Path(shutil.copytree(small_run.bundle, tmp_path / "bundle"))


def seal(folder: Path) -> None:
    """Update the digests of the manifest after a change of the files."""
    manifest = read_manifest(folder)
    sums = {name: sha256_of(folder / name) for name in FILES}
    write_manifest(folder, manifest.model_copy(update={"sha256": sums}))


def change_arrays(path: Path, change: "Callable[[dict[str, object]], object]") -> None:
    with np.load(path) as file:
        arrays = dict(file)
    change(arrays)
    np.savez_compressed(path, **arrays)


def test_written_bundle_is_loaded(small_run: SmallRun) -> None:
    bundle = load_bundle(small_run.bundle)
    assert bundle.mixture.emotions == EMOTIONS
    assert bundle.mixture.covariances.shape == (8, 64, 64)
    assert bundle.manifest.made_from["gallery_faces"] == len(bundle.gallery)
    entry = bundle.gallery.entries[0]
    assert entry.metadata["dataset"] == "FER+"
    assert sum(entry.metadata["votes"].values()) == 10
    check_fits(bundle, Embedder(bundle.embedder_path, provider="cpu"))


def test_gallery_file_has_no_pictures(small_run: SmallRun) -> None:
    with np.load(small_run.bundle / GALLERY) as file:
        assert set(file.files) == {
            "embedder_sha256",
            "ids",
            "embeddings",
            "labels",
            "votes",
            "vote_columns",
            "source",
        }
        assert file["embeddings"].shape[1] == 64


def test_shipped_bundle_is_small_and_scored() -> None:
    folder = default_bundle()
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 25 * 2**20
    manifest = read_manifest(folder)
    assert manifest.scores is not None
    assert manifest.scores["majority"]["nearest_centroid"]["accuracy"] >= 0.66
    assert manifest.made_from["dataset"] == "FER+ Training"
    assert len(load_bundle(folder).gallery) == 28_385


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
def test_missing_file_is_refused_by_name(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=name):
        load_bundle(bundle)


@pytest.mark.parametrize("name", FILES)
def test_changed_file_is_refused_by_name(bundle: Path, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    with pytest.raises(BundleError, match=rf"{name} does not belong to this bundle"):
        load_bundle(bundle)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is broken"),
        ("{}", "is broken"),
        ("[1]", "is broken"),
        ('{"format_version": "x"}', "is broken"),
        ("[" * 100_000, "is broken"),
        (" " * 5_000_000, "must have at most 4194304 bytes"),
    ],
)
def test_broken_manifest_is_refused(bundle: Path, content: str, message: str) -> None:
    (bundle / MANIFEST).write_text(content)
    with pytest.raises(BundleError, match=message):
        load_bundle(bundle)


def test_manifest_with_numbers_that_are_no_json_is_refused(bundle: Path) -> None:
    manifest = json.loads((bundle / MANIFEST).read_text())
    (bundle / MANIFEST).write_text(json.dumps(manifest | {"scores": {"accuracy": float("nan")}}))
    with pytest.raises(BundleError, match=r"manifest\.json is broken"):
        read_manifest(bundle)


def header_of(shape: str, dtype: str = "<f8") -> bytes:
    """The file of an array that has a header and no content."""
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (header_of("(1000000000000, 64)"), "must have 512000000000000 bytes, got 0"),
        (header_of("(10, -64)"), "is broken"),
        (header_of("(1,)", "<U200000000"), "must have 800000000 bytes, got 0"),
        (header_of("(" * 5000), "is broken"),
        (b"\x93NUMPY\x07\x00" + bytes(100), "is broken"),
        (b"no array", "is broken"),
    ],
)
def test_header_that_asks_for_other_memory_than_there_is_is_refused(bundle: Path, member: bytes, message: str) -> None:
    with zipfile.ZipFile(bundle / GALLERY, "a") as archive:
        archive.writestr("embeddings_of_nobody.npy", member)
    seal(bundle)
    with pytest.raises(BundleError, match=message):
        load_bundle(bundle)


def test_archive_that_unpacks_to_gigabytes_is_refused(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz, "MAX_ARCHIVE_BYTES", 50_000_000)
    change_arrays(bundle / GALLERY, lambda arrays: arrays.update(more=np.zeros(60_000_000, np.uint8)))
    assert (bundle / GALLERY).stat().st_size < 1_000_000
    seal(bundle)
    with pytest.raises(BundleError, match="its arrays must have at most 50000000 bytes, got 60"):
        load_bundle(bundle)


def test_manifest_without_the_digest_of_a_file_is_refused(bundle: Path) -> None:
    manifest = json.loads((bundle / MANIFEST).read_text())
    del manifest["sha256"][EMBEDDER]
    (bundle / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"manifest\.json is broken: .*embedder\.onnx missing"):
        read_manifest(bundle)


def test_other_format_version_is_refused(bundle: Path) -> None:
    manifest = json.loads((bundle / MANIFEST).read_text())
    (bundle / MANIFEST).write_text(json.dumps({**manifest, "format_version": 2}))
    with pytest.raises(BundleError, match="has format version 2, this version of mien reads 1"):
        load_bundle(bundle)


@pytest.mark.parametrize("name", [MIXTURE, GALLERY])
def test_part_of_another_bundle_is_refused_even_with_a_matching_manifest(bundle: Path, name: str) -> None:
    shutil.copyfile(default_bundle() / name, bundle / name)
    seal(bundle)
    with pytest.raises(BundleError, match=f"{name} was made with another embedder.onnx"):
        load_bundle(bundle)


def test_pickled_archive_is_refused(bundle: Path) -> None:
    change_arrays(bundle / GALLERY, lambda arrays: arrays.update(ids=np.array([{"code": 1}], dtype=object)))
    seal(bundle)
    with pytest.raises(BundleError, match="is broken"):
        load_bundle(bundle)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (MIXTURE, lambda arrays: arrays.pop("sigma"), "is broken"),
        (MIXTURE, lambda arrays: arrays.update(sigma=np.array([1.0, 1.0])), "sigma must be finite floats"),
        (MIXTURE, lambda arrays: arrays.update(sigma=np.array(np.inf)), "sigma must be finite floats"),
        (MIXTURE, lambda arrays: arrays.update(typical=np.array([])), "typical must be two or more"),
        (MIXTURE, lambda arrays: arrays.update(typical=np.array([2.0, 1.0])), "ascending"),
        (MIXTURE, lambda arrays: arrays.update(typical=np.array([0.0, np.nan])), "typical must be finite"),
        (MIXTURE, lambda arrays: arrays.update(emotions=np.array("one")), "emotions must be"),
        (MIXTURE, lambda arrays: arrays.update(centroids=np.array(1.0)), "centroids must be"),
        (MIXTURE, lambda arrays: arrays.update(covariances=-arrays["covariances"]), "positive definite"),
        (GALLERY, lambda arrays: arrays.update(labels=arrays["labels"] + 8), "labels must be from 0 to 7"),
        (GALLERY, lambda arrays: arrays.update(votes=arrays["votes"][:, 1:]), "votes must be"),
        (GALLERY, lambda arrays: arrays.update(ids=np.full_like(arrays["ids"], "a")), "all different"),
        (GALLERY, lambda arrays: arrays.update(ids=np.arange(len(arrays["ids"]))), "ids must be"),
        (GALLERY, lambda arrays: arrays.update(source=np.array("{")), "source must be a JSON object"),
        (GALLERY, lambda arrays: arrays.update(source=np.array("1")), "source must be a JSON object"),
        (GALLERY, lambda arrays: arrays.update(embeddings=arrays["embeddings"].astype("U")), "embeddings must be"),
        (MIXTURE, lambda arrays: arrays.update(sigma=np.array(0.0)), "sigma must be positive"),
        (MIXTURE, lambda arrays: arrays.update(centroids=arrays["centroids"] * np.nan), "centroids must be finite"),
        (MIXTURE, lambda arrays: arrays.update(covariances=arrays["covariances"][:2]), "covariances must be finite"),
        (GALLERY, lambda arrays: arrays.update(votes=arrays["votes"][1:]), "votes must be"),
        (
            GALLERY,
            lambda arrays: arrays.update(embeddings=arrays["embeddings"][:, :8]),
            "embeddings must be finite floats",
        ),
        (
            MIXTURE,
            lambda arrays: arrays.update(sigma=np.array(1e300)),
            r"sigma must be finite .* up to 1e\+09",
        ),
        (MIXTURE, lambda arrays: arrays.update(sigma=np.array(1e8)), "sigma must be positive, from 1e-06 to 1e.06"),
        (MIXTURE, lambda arrays: arrays.update(sigma=np.array(1e-300)), "sigma must be positive, from 1e-06"),
        (MIXTURE, lambda arrays: arrays.update(weights=arrays["weights"] * 0), "weights must be above 0"),
        (MIXTURE, lambda arrays: arrays.update(weights=-arrays["weights"]), "weights must be above 0"),
        (MIXTURE, lambda arrays: arrays.update(weights=arrays["weights"] * 1e6), "and at most 1, got"),
        (MIXTURE, lambda arrays: arrays.update(centroids=arrays["centroids"] * 1e300), "centroids must be finite"),
        (MIXTURE, lambda arrays: arrays.update(covariances=arrays["covariances"] * 1e-300), "positive definite, with"),
        (MIXTURE, lambda arrays: arrays.update(covariances=arrays["covariances"] * 0 + 1e9), "positive definite, with"),
        (MIXTURE, lambda arrays: arrays.update(covariances=arrays["covariances"].astype("g")), "covariances must be"),
        (MIXTURE, lambda arrays: arrays.update(weights=arrays["weights"] * 1e-300), "weights must be above 0"),
        (GALLERY, lambda arrays: arrays.update(embeddings=arrays["embeddings"] * 1e30), "embeddings must be finite"),
        (GALLERY, lambda arrays: arrays.update(source=np.array('{"a":' * 9 + "1" + "}" * 9)), "at most 8 levels deep"),
        (GALLERY, lambda arrays: arrays.update(source=np.array("[" * 100_000)), "source must be a JSON object"),
        (GALLERY, lambda arrays: arrays.update(source=np.array('{"a":' * 50_000)), "source must be a JSON object"),
        (GALLERY, lambda arrays: arrays.update(source=np.array('{"a": NaN}')), "must be a JSON value"),
        (
            GALLERY,
            lambda arrays: arrays.update(source=np.array(json.dumps({"a": "x" * 20_000}))),
            "at most 16384 bytes",
        ),
    ],
)
def test_arrays_that_do_not_fit(
    bundle: Path, name: str, change: "Callable[[dict[str, object]], object]", message: str
) -> None:
    change_arrays(bundle / name, change)
    seal(bundle)
    with pytest.raises(BundleError, match=message):
        load_bundle(bundle)


def test_broken_archive_is_refused(bundle: Path) -> None:
    (bundle / GALLERY).write_bytes(b"garbage")
    seal(bundle)
    with pytest.raises(BundleError, match="is broken"):
        load_bundle(bundle)


def test_other_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"it has no manifest\.json"):
        load_bundle(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(BundleError, match="a bundle is a folder"):
        load_bundle(tmp_path / "file")


def test_embedder_of_other_emotions_is_refused(small_run: SmallRun) -> None:
    bundle = load_bundle(small_run.bundle)
    embedder = Embedder(bundle.folder / EMBEDDER, provider="cpu")
    embedder.emotions = ("joy",)
    with pytest.raises(BundleError, match="the mixture has the emotions"):
        check_fits(bundle, embedder)


@pytest.fixture
def calibrated(bundle: Path) -> Path:
    """The bundle with a calibration, and with an unknown file."""
    (bundle / "more.bin").write_bytes(b"more")
    mixture = load_bundle(bundle).mixture
    background = Background(np.arange(64.0), 2 * np.eye(64), floor=-7.5)
    calibration = Calibration(mixture.sigma, 1.5, background, np.array([-2.0, 0.0, 3.0]), min_typicality=0.07)
    replace_mixture(bundle, replace(mixture, sigma=0.9, calibration=calibration), {"dataset": "made faces"})
    return bundle


def test_calibration_is_stored_with_the_mixture(small_run: SmallRun, calibrated: Path) -> None:
    before, after = load_bundle(small_run.bundle), load_bundle(calibrated)
    assert after.manifest.calibration == {"dataset": "made faces"}
    assert after.manifest.made_from == before.manifest.made_from
    assert (after.mixture.sigma, after.mixture.trained_sigma) == (0.9, before.mixture.sigma)
    calibration = after.mixture.calibration
    assert calibration is not None
    assert (calibration.votes_sigma, calibration.min_typicality, calibration.background.floor) == (1.5, 0.07, -7.5)
    assert calibration.outlier_scores.tolist() == [-2.0, 0.0, 3.0]
    np.testing.assert_array_equal(calibration.background.centroid, np.arange(64.0))
    np.testing.assert_array_equal(calibration.background.covariance, 2 * np.eye(64))
    np.testing.assert_array_equal(after.mixture.typical, before.mixture.typical)
    assert (calibrated / "more.bin").read_bytes() == b"more"
    assert not list(calibrated.parent.glob("*.partial"))
    assert calibration.data_sigma is None, "a calibration of before the prior could be chosen"
    replace_mixture(calibrated, replace(after.mixture, calibration=replace(calibration, data_sigma=0.95)), {})
    assert load_bundle(calibrated).mixture.sigma_under("data") == 0.95


def test_bundle_in_the_working_folder_can_be_calibrated(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bundle)
    replace_mixture(Path(), load_bundle(bundle).mixture, {})
    assert load_bundle(bundle).manifest.calibration == {}


@pytest.mark.parametrize("name", CALIBRATION_ARRAYS)
def test_incomplete_calibration_is_refused(calibrated: Path, name: str) -> None:
    change_arrays(calibrated / MIXTURE, lambda arrays: arrays.pop(name))
    seal(calibrated)
    with pytest.raises(BundleError, match=f"is broken: .*{name}"):
        load_bundle(calibrated)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("trained_sigma", np.array(0.0), "trained_sigma must be positive"),
        ("votes_sigma", np.array(-1.0), "votes_sigma must be positive"),
        ("data_sigma", np.array(0.0), "data_sigma must be positive"),
        ("weights", np.zeros(8), "weights must be above 0"),
        ("background_centroid", np.zeros(3), "background_centroid must be"),
        ("background_covariance", -np.eye(64), "background_covariance must be positive definite"),
        ("background_floor", np.array(np.nan), "background_floor must be finite"),
        ("strangeness", np.array([1.0, 0.0]), "strangeness must be two or more .* ascending"),
        ("min_typicality", np.array(1.5), "min_typicality must be from 0 to 1, got 1.5"),
    ],
)
def test_calibration_that_does_not_fit_is_refused(calibrated: Path, name: str, value: np.ndarray, message: str) -> None:
    change_arrays(calibrated / MIXTURE, lambda arrays: arrays.update({name: value}))
    seal(calibrated)
    with pytest.raises(BundleError, match=message):
        load_bundle(calibrated)


def test_shipped_networks_have_no_source_paths() -> None:
    for path in default_bundle().glob("*.onnx"):
        assert b'File "' not in path.read_bytes(), f"{path.name} has traces of the exporter's source lines"


def test_bundle_of_format_1_loads() -> None:
    """The bundle was written before this format had tests; it must stay readable."""
    bundle = load_bundle(Path(__file__).parents[2] / "data" / "bundle_1")
    assert bundle.mixture.emotions == ("neutral", "happiness")
    assert bundle.mixture.sigma == 0.9
    assert bundle.mixture.calibration is not None
    assert bundle.mixture.calibration.outlier_scores.tolist() == [-2.0, 0.0, 3.0]
    assert bundle.mixture.sigma_under("data") == 0.9
    assert [entry.sub_class for entry in bundle.gallery.entries] == [*["neutral/1"] * 3, "happiness/1", "happiness/3"]
    assert bundle.gallery.get("fer4").metadata == {
        "dataset": "FER+",
        "split": "Training",
        "votes": {"happiness": 8, "surprise": 1},
    }
    assert bundle.sub_classes is not None
    assert bundle.sub_classes.highest == (1, 3)
    assert bundle.sub_class_names == {}, "the sub-classes had no names yet"
    assert bundle.portraits_path is not None
    assert bundle.manifest.calibration == {"dataset": "FER+ PublicTest"}
