"""The service as processes, over real sockets: signals, kills and slow clients."""

import json
import os
import re
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from mien.index.bundle.default import default_bundle
from mien.service.operation.supervisor import SHARED_FILES
from tests.support.answers import CROPPED, form_head
from tests.support.data import ROOT
from tests.support.serving import MIEN, ServedProcess, free_ports, served_process
from tests.support.videos import encode_video, scene
from tests.support.waiting import wait_until

pytestmark = pytest.mark.system


def children(served: ServedProcess) -> list[int]:
    """The processes that serve: the children that listen."""
    path = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children")
    found = [int(pid) for pid in path.read_text(encoding="ascii").split()]
    return [pid for pid in found if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def log_lines(served: ServedProcess) -> list[dict[str, Any]]:
    return [json.loads(line) for line in served.log().splitlines() if line.startswith("{")]


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal."""
    caught = re.search(r"^SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (number - 1) & 1)


def figure(url: str, name: str) -> float:
    families = text_string_to_metric_families(httpx2.get(f"{url}/metrics").text)
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)


def test_killed_process_is_replaced_and_metrics_are_of_all_processes(crop_file: bytes) -> None:
    with served_process("--processes", "2", "--rate-per-s", "0") as server:
        server.wait_until(lambda: len(children(server)) == 2)
        before = set(children(server))
        statuses: list[int] = []

        def ask() -> None:
            try:
                answer = httpx2.post(f"{server.url}/retrieve", params=CROPPED, files={"image": crop_file}, timeout=10)
                statuses.append(answer.status_code)
            except httpx2.TransportError:
                statuses.append(0)

        for _ in range(20):
            ask()
        os.kill(min(before), signal.SIGKILL)
        for _ in range(60):
            ask()
        server.wait_until(lambda: len(set(children(server)) - before) == 1)
        # What the killed process had in its hands is lost, nothing else.
        assert statuses.count(200) >= len(statuses) - 2, statuses
        assert statuses[-1] == 200
        answered = {line for line in httpx2.get(f"{server.url}/metrics").text.splitlines() if "/retrieve" in line}
        assert answered
        assert figure(server.url, "mien_gallery_faces") > 1000

        # One that is still starting is ended by the signal, and the next loads the new bundle: nothing to count.
        server.wait_until(lambda: all(catches(pid, signal.SIGHUP) for pid in children(server)))
        server.process.send_signal(signal.SIGHUP)
        server.wait_until(lambda: figure(server.url, "mien_reloads_total") >= 2)
        assert httpx2.post(f"{server.url}/admin/reload").json()["status"] == "reloading"
        server.wait_until(lambda: figure(server.url, "mien_reloads_total") >= 4)
        ask()
        assert statuses[-1] == 200
        assert server.terminate() == 0


def test_processes_that_cannot_start_end_the_service(tmp_path: Path) -> None:
    ended = subprocess.run(
        [MIEN, "serve", "--port", "0", "--processes", "2", "--bundle", tmp_path],
        stderr=subprocess.PIPE,
        timeout=60,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "is not a bundle" in ended.stderr


def test_stopping_service_finishes_requests_and_refuses_new_ones(crop_file: bytes) -> None:
    """An upload that is running is read to its end and answered."""
    with served_process("--drain-s", "2") as server, httpx2.Client(base_url=server.url) as open_connection:
        assert open_connection.get("/health/ready").status_code == 200
        head, tail = upload(crop_file)
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as slow:
            slow.sendall(head)
            time.sleep(0.2)
            server.process.send_signal(signal.SIGTERM)
            server.wait_until(lambda: open_connection.get("/health/ready").status_code == 503)
            refused = httpx2.post(f"{server.url}/classify", files={"image": crop_file})
            assert refused.status_code == 503
            assert refused.headers["retry-after"]
            assert open_connection.get("/health/live").status_code == 200
            slow.sendall(tail)
            assert slow.recv(2000).startswith(b"HTTP/1.1 200 ")
        assert server.process.wait(timeout=20) in (0, -signal.SIGTERM)
        log = log_lines(server)
        assert not [line for line in log if line["level"] == "error"]
        assert {line["status"] for line in log if line["logger"] == "mien.requests"} == {200, 503}


def upload(file: bytes) -> tuple[bytes, bytes]:
    """A request in two halves."""
    body = form_head("image") + file + b"\r\n--b--\r\n"
    head = (
        "POST /classify?already_cropped=true HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    whole = head.encode() + body
    return whole[:-100], whole[-100:]


def test_slow_and_disconnected_clients_leave_nothing_behind(crop_file: bytes) -> None:
    with served_process("--timeout-s", "1.5", "--rate-per-s", "0") as server:
        port = server.port
        head, tail = upload(crop_file)
        silent = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(20)]
        for caller in silent[:10]:
            caller.sendall(head)  # a body that never ends
        for caller in silent[10:]:
            caller.sendall(b"POST /classify HTTP/1.1\r\nHos")  # not even a whole head
        for _ in range(30):  # gone in mid-request, before or while it is answered
            with socket.create_connection(("127.0.0.1", port), timeout=20) as gone:
                gone.sendall(head)
        for _ in range(30):
            with socket.create_connection(("127.0.0.1", port), timeout=20) as gone:
                gone.sendall(head + tail)
        answer = httpx2.post(f"{server.url}/classify", params=CROPPED, files={"image": crop_file}, timeout=20)
        assert answer.status_code == 200, "others are served meanwhile"
        for caller in silent[:10]:
            assert caller.recv(100).startswith(b"HTTP/1.1 408 ")
        for caller in silent[10:]:
            assert caller.recv(100) == b"", "a head that does not come ends the connection"
        for caller in silent:
            caller.close()
        server.wait_until(lambda: figure(server.url, "mien_images_held") == 0)
        server.wait_until(lambda: figure(server.url, "mien_body_bytes_held") == 0)
        assert server.terminate() in (0, -signal.SIGTERM)
        assert not [line for line in log_lines(server) if line["level"] == "error"]


def decoders(process: int) -> list[int]:
    """The processes in which a service decodes videos."""
    tasks = Path(f"/proc/{process}/task").glob("*/children")
    found = [int(pid) for path in tasks for pid in path.read_text(encoding="ascii").split()]
    return [pid for pid in found if b"mien.model.video.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_killed_service_keeps_acknowledged_writes_and_leaves_no_decoder(
    crop_file: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Acknowledged faces are there, no others are, and no decoder is left."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    video = encode_video([scene([(200, 120)])] * 300)
    with served_process("--gallery", str(tmp_path / "faces")) as server:
        point = [0.5] * 64
        kept = httpx2.post(f"{server.url}/gallery", json={"items": [{"id": "kept", "embedding": point}]})
        assert kept.status_code in (200, 201)
        whole, _ = upload(crop_file)
        port = server.port
        with (
            socket.create_connection(("127.0.0.1", port), timeout=20) as classified,
            socket.create_connection(("127.0.0.1", port), timeout=20) as added,
            httpx2.Client(timeout=20) as client,
            client.stream("POST", f"{server.url}/classify/video?fps=60", files={"video": video}) as lines,
        ):
            reading = lines.iter_lines()  # one that is let go of closes the connection
            line = next(reading)
            assert lines.status_code == 200, line
            (decoder,) = decoders(server.process.pid)
            classified.sendall(whole)
            added.sendall(b"POST /gallery HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
            added.sendall(b'Content-Length: 500\r\n\r\n{"items": [{"id": "half", "embedding": [0.5')
            time.sleep(0.2)
            server.process.kill()
            server.process.wait(20)
            assert classified.recv(100) == b""
            assert added.recv(100) == b""
        wait_until(lambda: not Path(f"/proc/{decoder}").exists())
    assert list(temporary.iterdir()) == []
    with served_process("--gallery", str(tmp_path / "faces")) as server:
        found = httpx2.post(f"{server.url}/retrieve", json={"query": {"embedding": point}})
        assert [match["id"] for match in found.json()["matches"]] == ["kept"]


def test_disconnect_from_a_video_ends_its_decoder() -> None:
    video = encode_video([scene([(200, 120)])] * 300)
    with served_process() as server:
        with (
            httpx2.Client(timeout=20) as client,
            client.stream("POST", f"{server.url}/classify/video?fps=60", files={"video": video}) as lines,
        ):
            reading = lines.iter_lines()
            next(reading)
            assert len(decoders(server.process.pid)) == 1
        server.wait_until(lambda: not decoders(server.process.pid))
        server.wait_until(lambda: figure(server.url, "mien_videos_held") == 0)
        assert figure(server.url, "mien_body_bytes_held") == 0
        answered = figure(server.url, "mien_frames_total")
        assert answered < 300
        assert server.terminate() in (0, -signal.SIGTERM)
        assert not [line for line in log_lines(server) if line["level"] == "error"]


def test_full_disk_refuses_writes_and_answers_queries(tmp_path: Path) -> None:
    """Files of the service may not grow, which has the effect of a full disk."""
    with served_process("--gallery", str(tmp_path / "faces"), "--rate-per-s", "0") as server:
        limits = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (500_000, resource.RLIM_INFINITY))
        kept: list[str] = []
        for number in range(2000):
            names = [f"face-{number}-{row}" for row in range(20)]
            items = [{"id": name, "embedding": [number / 100] * 64, "metadata": {"x": "x" * 500}} for name in names]
            answer = httpx2.post(f"{server.url}/gallery", json={"items": items}, timeout=30)
            if answer.status_code == 507:
                break
            assert answer.status_code in (200, 201), answer.text
            kept += names
        assert answer.status_code == 507
        assert answer.json()["type"] == "urn:mien:gallery-full"
        query = {"query": {"embedding": [0.0] * 64}, "k": 1000}
        found = httpx2.post(f"{server.url}/retrieve", json=query, timeout=30).json()["matches"]
        assert {match["id"] for match in found} <= set(kept)
        assert len(found) == min(len(kept), 1000)
        assert server.status() == 200
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, limits)
        again = httpx2.post(f"{server.url}/gallery", json={"items": items}, timeout=30)
        assert again.status_code in (200, 201), "there is space again"


def test_sighup_reloads_the_bundle() -> None:
    with served_process() as server:
        server.process.send_signal(signal.SIGHUP)
        server.wait_until(lambda: figure(server.url, "mien_reloads_total") == 1)
        assert server.status() == 200


@pytest.mark.parametrize("option", ["--allow-public", "--keys"])
def test_public_address_needs_keys_or_allow_public(option: str) -> None:
    command = [MIEN, "serve", "--host", "0.0.0.0", "--bundle", str(default_bundle())]  # noqa: S104
    ended = subprocess.run(command, stderr=subprocess.PIPE, timeout=60, text=True, check=False)
    assert ended.returncode == 1
    assert option in ended.stderr


@contextmanager
def supervised(kind: str, **options: Any) -> Iterator["subprocess.Popen[str]"]:
    """A supervisor on a free port over processes that do next to nothing; they print their numbers."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "tests.support.supervised", str(port), kind]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=ROOT, **options) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("kind", ["dies", "killed"])
def test_process_that_dies_at_its_start_is_tried_later_and_later(kind: str, tmp_path: Path) -> None:
    """Two processes at once, their replacements after 0.5 and 1 s, the next after 2 and 4 s."""
    with supervised(kind, env={**os.environ, "TMPDIR": str(tmp_path)}) as process:
        assert process.stdout is not None
        starts = [float(process.stdout.readline().split()[1]) for _ in range(4)]
        assert starts[2] - starts[0] >= 0.5
        assert starts[3] - starts[0] >= 1.0
        assert not list(tmp_path.glob("mien-metrics-*/*.db")) or len(list(tmp_path.glob("*/*.db"))) <= 8
        process.terminate()
        _, log = process.communicate(timeout=20)
        assert process.returncode == 0
    assert "another one is started in 0.5 s" in log
    assert "another one is started in 1 s" in log
    assert not list(tmp_path.iterdir())


def test_processes_end_with_a_killed_supervisor() -> None:
    with supervised("sleeps") as process:
        assert process.stdout is not None
        pids = [int(process.stdout.readline().split()[0]) for _ in range(2)]
        process.kill()
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def test_full_temporary_folder_is_an_error_and_no_loop(tmp_path: Path) -> None:
    """Files may not grow, as on a full disk: a write to a mapped file would end each process by SIGBUS."""
    few_bytes: Callable[[], None] = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))  # noqa: E731
    with supervised("sleeps", env={**os.environ, "TMPDIR": str(tmp_path)}, preexec_fn=few_bytes) as process:
        output, log = process.communicate(timeout=20)
    assert process.returncode == 1
    assert output == "", "no process served"
    assert f"the temporary folder {tmp_path} must have 2097152 free bytes" in log


def test_space_of_every_shared_metric_is_asked_for(tmp_path: Path) -> None:
    """Metrics of a kind that the supervisor does not know would lie in a file without space."""
    program = "from mien.service.operation.metrics import Metrics; Metrics().reloads.labels('done').inc()"
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], env=environment, cwd=ROOT, check=True)
    assert {path.name.rpartition("_")[0] for path in tmp_path.iterdir()} == set(SHARED_FILES)


@pytest.mark.parametrize("processes", [1, 2])
def test_signal_to_stop_closes_the_gallery(processes: int, tmp_path: Path) -> None:
    """The write-ahead log goes with the last connection, and no process ends by the signal."""
    folder = tmp_path / "faces"
    with served_process("--gallery", str(folder), "--processes", str(processes), "--drain-s", "0") as server:
        added = httpx2.post(f"{server.url}/gallery", json={"items": [{"id": "kept", "embedding": [0.5] * 64}]})
        assert added.status_code == 201
        assert (folder / "gallery.sqlite-wal").exists()
        assert server.terminate() == 0
    assert not (folder / "gallery.sqlite-wal").exists()
    with closing(sqlite3.connect(f"file:{folder}/gallery.sqlite?immutable=1", uri=True)) as connection:
        assert connection.execute("SELECT id FROM faces").fetchall() == [("kept",)]
