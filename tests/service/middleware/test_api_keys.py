import os
import stat
from pathlib import Path

import pytest

from mien.model.errors import ConfigError
from mien.service.commands.main import main
from mien.service.middleware.api_keys import RELOAD_AFTER_S, Keys, create_key, read_keys, revoke_key


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
    keys = Keys(path)
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


def test_revoked_key_becomes_invalid_without_a_restart(tmp_path: Path) -> None:
    path, clock = tmp_path / "keys.json", Clock()
    first, second = create_key(path, "first", "read"), create_key(path, "second", "read")
    keys = Keys(path, clock)
    found = keys.find(first)
    assert found is not None
    revoke_key(path, found.id)
    third = create_key(path, "third", "write")
    clock.now += RELOAD_AFTER_S
    assert keys.find(first) is None
    assert keys.find(second) is not None
    assert keys.find(third) is not None


@pytest.mark.parametrize("breaking", ["remove", "spoil"])
def test_no_key_is_valid_while_the_file_cannot_be_read(tmp_path: Path, breaking: str) -> None:
    path, clock = tmp_path / "keys.json", Clock()
    text = create_key(path, "reader", "read")
    keys = Keys(path, clock)
    if breaking == "remove":
        path.unlink()
    else:
        path.write_text("{}}", encoding="utf-8")
    clock.now += RELOAD_AFTER_S
    assert keys.find(text) is None


def test_file_without_keys_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no key"):
        Keys(tmp_path / "none.json")
    (tmp_path / "broken.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ConfigError, match="is no key file"):
        Keys(tmp_path / "broken.json")


def test_command_creates_lists_and_revokes_keys(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys.json"
    assert main(["keys", "create", "front end", "--scope", "write", "--keys", str(path)]) == 0
    text = capfd.readouterr().out.strip()
    assert (key := Keys(path).find(text)) is not None
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
