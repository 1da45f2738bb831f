import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mien.model.errors import ConfigError
from mien.service.commands.main import main
from mien.service.middleware import api_keys
from mien.service.middleware.api_keys import MAX_FILE_BYTES, STALE_AFTER_S, Keys, create_key, read_keys, revoke_key
from mien.service.operation.logs import FIELDS
from mien.service.operation.metrics import Metrics
from tests.support.waiting import wait_until


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MIEN_")]:
        monkeypatch.delenv(name)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_only_the_exact_key_is_found(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    reader, admin = create_key(path, "reader", "read"), create_key(path, "operator", "admin")
    keys = Keys(path, Metrics())
    found = keys.find(reader)
    assert found is not None
    assert (found.name, found.scope) == ("reader", "read")
    assert (operator := keys.find(admin)) is not None
    assert operator.scope == "admin"
    identity = found.id
    for wrong in (
        "",
        "mien",
        reader[:-1],
        reader + "x",
        f"mien_{identity}_",
        f"mien_{identity}_wrong",
        "a_b_c",
        "ü_ü_ü",
    ):
        assert keys.find(wrong) is None, wrong
    assert keys.find("_".join([*reader.split("_")[:2], admin.split("_", 2)[2]])) is None


def test_key_file_has_no_secret_and_is_readable_by_its_user_only(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "keys.json"
    text = create_key(path, "reader", "read")
    secret = text.split("_", 2)[2]
    assert secret not in path.read_text(encoding="utf-8")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.fixture
def no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is read by the test alone, as ``check`` is by one thread."""
    monkeypatch.setattr(api_keys, "_check_regularly", lambda _: None)


@pytest.mark.usefixtures("no_thread")
def test_revoked_key_becomes_invalid_without_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    first, second = create_key(path, "first", "read"), create_key(path, "second", "read")
    keys = Keys(path, Metrics())
    found = keys.find(first)
    assert found is not None
    revoke_key(path, found.id)
    third = create_key(path, "third", "write")
    keys.check()
    assert keys.find(first) is None
    assert keys.find(second) is not None
    assert keys.find(third) is not None


@pytest.mark.usefixtures("no_thread")
@pytest.mark.parametrize("breaking", ["remove", "spoil", "empty", "no keys", "pipe", "large"])
def test_no_key_is_valid_while_the_file_cannot_be_used(
    tmp_path: Path, breaking: str, caplog: pytest.LogCaptureFixture
) -> None:
    path, metrics = tmp_path / "keys.json", Metrics()
    text = create_key(path, "reader", "read")
    whole = path.read_bytes()
    keys = Keys(path, metrics)
    if breaking in ("remove", "pipe"):
        path.unlink()
    if breaking == "pipe":
        os.mkfifo(path)
    elif breaking != "remove":
        content = {"spoil": "{}}", "empty": "", "no keys": '{"keys": []}', "large": " " * (MAX_FILE_BYTES + 1)}
        path.write_text(content[breaking], encoding="utf-8")
    keys.check()
    assert keys.find(text) is None
    assert b"mien_key_file_broken 1.0" in metrics.exposition()
    (record,) = (record for record in caplog.records if record.name == "mien.keys")
    assert record.levelname == "ERROR"
    assert str(path) in getattr(record, FIELDS)["reason"]
    keys.check()
    assert len([record for record in caplog.records if record.name == "mien.keys"]) == 1, "it is said once"
    path.unlink(missing_ok=True)
    path.write_bytes(whole)
    keys.check()
    assert keys.find(text) is not None
    assert b"mien_key_file_broken 0.0" in metrics.exposition()


def test_no_key_is_valid_after_the_file_could_not_be_read_for_long(tmp_path: Path) -> None:
    """On a network folder that does not answer, nobody knows what was revoked."""
    path, clock = tmp_path / "keys.json", Clock()
    text = create_key(path, "reader", "read")
    keys = Keys(path, Metrics(), clock)
    keys.check = lambda: None  # type: ignore[method-assign]
    clock.now += STALE_AFTER_S - 0.01
    assert keys.find(text) is not None
    clock.now += 0.01
    assert keys.find(text) is None


def test_file_is_read_by_a_thread(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    text = create_key(path, "reader", "read")
    keys = Keys(path, Metrics())
    path.unlink()
    wait_until(lambda: keys.find(text) is None)


def test_keys_that_are_created_at_once_are_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "keys.json"
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda number: create_key(path, f"key {number}", "read"), range(24)))
    keys = Keys(path, Metrics())
    assert [keys.find(text) is not None for text in made] == [True] * 24


def test_file_without_keys_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no key"):
        Keys(tmp_path / "none.json", Metrics())
    (tmp_path / "broken.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ConfigError, match="is no key file"):
        Keys(tmp_path / "broken.json", Metrics())


def test_command_creates_lists_and_revokes_keys(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys.json"
    assert main(["keys", "create", "front end", "--scope", "write", "--keys", str(path)]) == 0
    text = capfd.readouterr().out.strip()
    assert (key := Keys(path, Metrics()).find(text)) is not None
    monkeypatch.setenv("MIEN_KEYS", str(path))
    assert main(["keys", "list"]) == 0
    listed = capfd.readouterr().out
    assert key.id in listed
    assert "front end" in listed
    assert text.split("_", 2)[2] not in listed
    assert main(["keys", "revoke", key.id]) == 0
    assert read_keys(path).keys == ()
    assert main(["keys", "revoke", key.id]) == 1
    assert "has no key with the id" in capfd.readouterr().err


def test_command_needs_a_key_file(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "list"]) == 1
    assert "MIEN_KEYS" in capfd.readouterr().err
