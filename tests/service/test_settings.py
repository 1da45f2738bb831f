import argparse
import os
from pathlib import Path

import pytest

from mien.index.bundle.default import default_bundle
from mien.model.errors import ConfigError
from mien.service.commands.options import add_config_options
from mien.service.settings import Settings, read_settings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MIEN_")]:
        monkeypatch.delenv(name)


def test_defaults() -> None:
    settings = read_settings({})
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.bundle == default_bundle()


def test_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_PORT", "9000")
    monkeypatch.setenv("MIEN_BUNDLE", "elsewhere")
    settings = read_settings(os.environ)
    assert settings.port == 9000
    assert settings.bundle == Path("elsewhere")


def test_empty_variable_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose files and unit files leave empty variables; an empty host would mean every interface."""
    monkeypatch.setenv("MIEN_HOST", "")
    monkeypatch.setenv("MIEN_BUNDLE", "")
    settings = read_settings(os.environ)
    assert settings.host == "127.0.0.1"
    assert settings.bundle == default_bundle()
    with pytest.raises(ConfigError, match="--host"):
        read_settings(os.environ, host="")


def test_option_takes_precedence_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_PORT", "9000")
    assert read_settings(os.environ, port=9001, host=None).port == 9001


def test_earlier_name_of_an_index_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_GALLERY_INDEX", "cells")
    assert Settings().gallery_index == "ivf"
    parser = argparse.ArgumentParser()
    add_config_options(parser, Settings)
    assert parser.parse_args(["--gallery-index", "cells"]).gallery_index == "ivf"


def test_misspelt_variable_is_refused_with_a_hint() -> None:
    with pytest.raises(ConfigError, match=r"MIEN_PROT is no setting of mien; did you mean MIEN_PORT\?"):
        read_settings({"MIEN_PROT": "1"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MIEN_PORT", "many"),
        ("MIEN_PORT", "70000"),
        ("MIEN_MAX_K", "0"),
        ("MIEN_PROVIDER", "tpu"),
        ("MIEN_MIN_TYPICALITY", "1.5"),
    ],
)
def test_invalid_value_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=rf"{name}: .*got '{value}'"):
        read_settings(os.environ)


def test_every_setting_has_a_description() -> None:
    for field in Settings.model_fields.values():
        assert field.description


def test_settings_that_would_refuse_every_request_are_refused() -> None:
    with pytest.raises(ConfigError, match="--max-images must be at most --queue-images"):
        read_settings({}, queue_images=3, max_images=4)
    with pytest.raises(ConfigError, match="--max-body-bytes must be at most --queue-body-bytes"):
        read_settings({}, queue_body_bytes=1000)
