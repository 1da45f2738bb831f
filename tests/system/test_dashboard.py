"""The queries of Grafana's dashboard, answered by a Prometheus that watches a service behind a proxy.

Grafana itself is not needed: it draws what these queries return.
"""

import json
import math
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from tests.support.data import ROOT
from tests.support.serving import MIEN, environment_without_settings, free_ports

MONITORING = ROOT / "docker" / "monitoring"

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("haproxy") is None, reason="needs prometheus and haproxy"
)


@contextmanager
def running(*command: str | Path) -> "Iterator[subprocess.Popen[bytes]]":
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment_without_settings()
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def proxy_configuration(service: int, port: int, metrics: int) -> str:
    """The configuration of the containers, changed to one replica on this machine."""
    text = (ROOT / "docker" / "haproxy.cfg").read_text(encoding="utf-8")
    before, _, after = text.partition("resolvers compose\n")
    text = before + after[after.index("frontend mien") :]
    for old, new in (
        ("bind :8000", f"bind 127.0.0.1:{port}"),
        ("bind :8405", f"bind 127.0.0.1:{metrics}"),
        ("server-template replica 32 replica:8000 resolvers compose init-addr none", f"server one 127.0.0.1:{service}"),
    ):
        assert old in text
        text = text.replace(old, new)
    return text


def prometheus_configuration(service: int, metrics: int, key: Path) -> dict[str, Any]:
    """The configuration of the containers, changed to this machine and to an interval of a second."""
    content: dict[str, Any] = yaml.safe_load((MONITORING / "prometheus.yml").read_text(encoding="utf-8"))
    content["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    content["rule_files"] = [str(MONITORING / name) for name in content["rule_files"]]
    for job, port in zip(content["scrape_configs"], (service, metrics), strict=True):
        del job["dns_sd_configs"]
        job["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
    content["scrape_configs"][0]["authorization"]["credentials_file"] = str(key)
    return content


def send_requests(port: int, photograph: bytes) -> None:
    """Send a request of each kind that the panels show; none while the service starts."""
    address = f"http://127.0.0.1:{port}"
    try:
        for path in ("/classify", "/retrieve?k=3", "/embed"):
            httpx2.post(address + path, files={"image": photograph}, timeout=30)
        httpx2.post(f"{address}/classify", files={"image": b"no picture"}, timeout=30)
    except httpx2.TransportError:
        time.sleep(0.2)


def has_data(port: int, expression: str) -> bool:
    """Whether Prometheus answers a query with at least one number."""
    query = urllib.parse.urlencode({"query": expression.replace("$instance", ".*")})
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?{query}", timeout=10) as answer:
            found = json.load(answer)["data"]["result"]
    except urllib.error.HTTPError as error:
        pytest.fail(f"{expression}: {error.read().decode()}")
    except OSError:
        return False
    return any(math.isfinite(float(each["value"][1])) for each in found)


def test_each_panel_and_each_alert_has_data(tmp_path: Path, photograph_file: bytes) -> None:
    dashboard = json.loads((MONITORING / "dashboards" / "mien.json").read_text(encoding="utf-8"))
    panels = {target["expr"]: panel["title"] for panel in dashboard["panels"] for target in panel["targets"]}
    service, proxy, metrics, prometheus = free_ports(4)
    (tmp_path / "haproxy.cfg").write_text(proxy_configuration(service, proxy, metrics))
    (tmp_path / "key").touch()
    content = prometheus_configuration(service, metrics, tmp_path / "key")
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(content))
    with (
        running(MIEN, "serve", "--port", str(service)) as mien,
        running("haproxy", "-db", "-f", tmp_path / "haproxy.cfg"),
        running(
            "prometheus",
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{prometheus}",
        ),
    ):
        alerts = {note["expr"] for note in dashboard["annotations"]["list"] if "expr" in note}
        waiting = set(panels)
        assert alerts
        assert len(waiting) > 20
        end = time.monotonic() + 120
        while waiting and time.monotonic() < end:
            send_requests(proxy, photograph_file)
            waiting = {expression for expression in waiting if not has_data(prometheus, expression)}
        assert not waiting, {panels[expression] for expression in waiting}
        mien.kill()  # now the alerts fire, which mark the panels
        while alerts and time.monotonic() < end:
            time.sleep(0.5)
            alerts = {expression for expression in alerts if not has_data(prometheus, expression)}
        assert not alerts
