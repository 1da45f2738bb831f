"""The compose file, the image and the monitoring are valid and confined, and run where there is a Docker engine."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from mien.service.operation.metrics import Metrics
from mien.service.settings import PREFIX, Settings
from tests.support.data import ROOT
from tests.support.serving import environment_without_settings

MONITORING = ROOT / "docker" / "monitoring"
PROFILES = ("gpu", "train", "distributed", "monitoring")


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="module", params=["1.29", "plug-in"])
def compose_program(request: pytest.FixtureRequest) -> str:
    """The programs that the compose file is written for: Debian's, and that of the plug-in, from the extra ``dev``."""
    folder = Path(sys.executable).parent
    if request.param == "plug-in":
        program = shutil.which("docker-compose", path=str(folder))
    else:
        elsewhere = [each for each in os.environ.get("PATH", "").split(os.pathsep) if Path(each) != folder]
        program = shutil.which("docker-compose", path=os.pathsep.join(elsewhere))
    if program is None:
        pytest.skip(f"docker-compose {request.param} is not installed")
    return program


def config_of(program: str, *options: str, **variables: str) -> dict[str, Any]:
    """What compose reads from the file, without a warning."""
    done = subprocess.run(
        [program, *options, "config"],
        cwd=ROOT,
        env={**environment_without_settings(), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    content: dict[str, Any] = yaml.safe_load(done.stdout)
    return content


@pytest.mark.parametrize("profile", [None, *PROFILES])
def test_compose_file_is_valid(compose_program: str, profile: str | None) -> None:
    config_of(compose_program, *(["--profile", profile] if profile else []))


def test_keys_are_a_secret(compose_program: str) -> None:
    both = ("-f", "docker-compose.yml", "-f", "docker/keys.yml", "--profile", "gpu", "--profile", "distributed")
    config = config_of(compose_program, *both, SECRETS="/kept")
    for name in ("mien", "gpu", "replica"):
        service = config["services"][name]
        assert service["environment"]["MIEN_KEYS"] == "/run/secrets/keys"
        assert service["environment"]["MIEN_PUBLISHED"] == "127.0.0.1:8000", "the other settings are kept"
        assert [secret["source"] if isinstance(secret, dict) else secret for secret in service["secrets"]] == ["keys"]
    assert config["secrets"]["keys"]["file"] == "/kept/keys"


def test_setting_of_the_environment_reaches_the_service(compose_program: str) -> None:
    config = config_of(compose_program, MIEN_MAX_K="7")
    assert config["services"]["mien"]["environment"]["MIEN_MAX_K"] == "7"


def test_compose_file_has_every_setting(compose: dict[str, Any]) -> None:
    """Except those that the image sets: host and port inside the container."""
    passed = set(compose["x-settings"]) | set(compose["x-gallery"]) - {"<<"}
    assert passed == {PREFIX + name.upper() for name in Settings.model_fields if name not in ("host", "port")}


def test_only_the_service_starts_without_a_profile(compose: dict[str, Any]) -> None:
    assert [name for name, service in compose["services"].items() if "profiles" not in service] == ["mien"]
    assert {service["profiles"][0] for service in compose["services"].values() if "profiles" in service} == set(
        PROFILES
    )


def test_containers_have_no_privileges(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service.get("read_only") is (True if name != "milvus" else None), name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service, name


def test_containers_have_limits(compose_program: str) -> None:
    """Of memory, without swap, processes, open files, /tmp and logs."""
    profiles = [option for profile in PROFILES for option in ("--profile", profile)]
    for name, service in config_of(compose_program, *profiles)["services"].items():
        assert int(service["pids_limit"]) <= 4096, name
        assert service["ulimits"]["nofile"] == {"soft": 16384, "hard": 16384}, name
        assert service["ulimits"]["core"] in (0, {"soft": 0, "hard": 0}), name
        assert service["mem_limit"] == service["memswap_limit"], name
        assert {"max-size", "max-file"} <= service["logging"]["options"].keys(), name
        if name != "milvus":
            assert all("size=" in place for place in service["tmpfs"]), name
    changed = config_of(compose_program, MEMORY="6g")["services"]["mien"]["mem_limit"]
    assert str(changed) in ("6g", str(6 * 2**30))


def test_images_can_be_pinned_by_digest(compose_program: str) -> None:
    digest = "@sha256:" + "ab" * 32
    names = ("PYTHON_IMAGE", "PROXY_IMAGE", "MILVUS_IMAGE", "PROMETHEUS_IMAGE", "GRAFANA_IMAGE")
    profiles = [option for profile in PROFILES for option in ("--profile", profile)]
    pinned = {name: f"{name.partition('_')[0].lower()}:1{digest}" for name in names}
    services = config_of(compose_program, *profiles, **pinned)["services"]
    for name, service in services.items():
        is_built = service["image"].startswith("mien:")
        image = service.get("build", {}).get("args", {}).get("PYTHON") if is_built else service["image"]
        assert image is None or image.endswith(digest), name


def test_ports_are_open_to_this_machine_alone(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for port in service.get("ports", []):
            assert ":-127.0.0.1:" in port


def test_service_has_the_time_to_stop(compose: dict[str, Any]) -> None:
    """Its longest, as docs/security.md says, before the engine kills it."""
    longest_s = Settings.model_fields["drain_s"].default + Settings.model_fields["timeout_s"].default + 15
    for name in ("mien", "gpu", "replica"):
        assert int(compose["services"][name]["stop_grace_period"].rstrip("s")) > longest_s


def test_services_are_restarted(compose: dict[str, Any]) -> None:
    for name in ("mien", "gpu", "replica", "milvus", "proxy", "prometheus", "grafana"):
        assert compose["services"][name]["restart"] == "unless-stopped"


def test_secrets_are_files(compose: dict[str, Any]) -> None:
    for secret in compose["secrets"].values():
        assert secret["file"].startswith("${SECRETS:-./secrets}/")
    for service in compose["services"].values():
        for name in service.get("environment") or {}:
            assert not re.search(r"(PASSWORD|TOKEN|SECRET)$", name), f"{name} must be a file"
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert "/secrets/" in ignored


def test_mounted_volumes_and_files_exist(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).exists()
            elif not source.startswith("$"):
                assert source in compose["volumes"]


def test_image_gets_signals_and_does_not_run_as_root() -> None:
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
    assert 'ENTRYPOINT ["mien"]' in dockerfile
    assert "USER 10001:10001" in dockerfile
    assert "HEALTHCHECK --interval" in dockerfile
    assert dockerfile.count("--require-hashes") == 5
    bases = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    assert set(bases) == {"${PYTHON}", "base"}
    final = re.findall(r"^FROM base AS (\w+)$", dockerfile, re.MULTILINE)
    assert final == ["cpu", "distributed", "gpu", "train"]
    assert dockerfile.count("COPY --from=mien /opt/mien /opt/mien") == len(final), "mien is a layer of its own"
    assert "ARG PYTHON=python:3.11-slim-bookworm" in dockerfile


@needs("promtool")
def test_prometheus_files_are_valid() -> None:
    # Only the syntax: the file with the key of the service is not part of the project.
    for command in (["config", "--syntax-only", "prometheus.yml"], ["rules", "rules.yml"]):
        subprocess.run(["promtool", "check", *command], cwd=MONITORING, check=True, capture_output=True)


@needs("promtool")
def test_alerts_fire_when_they_should() -> None:
    done = subprocess.run(
        ["promtool", "test", "rules", MONITORING / "rules_test.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((MONITORING / "dashboards" / "mien.json").read_text(encoding="utf-8"))
    return content


def expressions(dashboard: dict[str, Any]) -> list[str]:
    found = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return [expression.replace("$instance", ".*") for expression in found]


def test_panels_have_different_ids_and_do_not_overlap(dashboard: dict[str, Any]) -> None:
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 10
    assert all(panel["datasource"]["uid"] == "prometheus" for panel in panels)
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(places)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)


@needs("promtool")
def test_queries_of_the_dashboard_are_valid(dashboard: dict[str, Any], tmp_path: Path) -> None:
    rules = [{"record": f"panel:{row}", "expr": each} for row, each in enumerate(expressions(dashboard))]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_metrics_of_alerts_and_dashboard_exist(dashboard: dict[str, Any]) -> None:
    exposed = Metrics().exposition().decode()
    known = set(re.findall(r"^# TYPE (mien_\w+)", exposed, re.MULTILINE))
    rules = (MONITORING / "rules.yml").read_text(encoding="utf-8")
    asked = set(re.findall(r"\bmien_\w+", " ".join([rules, *expressions(dashboard)])))
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked} <= known


@needs("haproxy")
def test_proxy_configuration_is_valid() -> None:
    done = subprocess.run(
        ["haproxy", "-c", "-f", ROOT / "docker" / "haproxy.cfg"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.docker
@pytest.mark.skipif(os.environ.get("DOCKER_VERIFY") != "1", reason="takes minutes: set DOCKER_VERIFY=1 to run it")
def test_stack_runs_on_a_docker_engine() -> None:
    engine = subprocess.run(["docker", "info"], capture_output=True, check=False) if shutil.which("docker") else None
    if engine is None or engine.returncode != 0:
        pytest.skip("needs a Docker engine")
    program = [sys.executable, str(ROOT / "docker" / "verify.py"), "--patience", "5"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
