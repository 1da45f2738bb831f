"""The service as processes: signals, deaths and slow callers, over real sockets."""

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from mien.index.bundle.default import default_bundle
from tests.support.answers import CROPPED
from tests.support.videos import encoded, scene

pytestmark = pytest.mark.system


class Served:
    def __init__(self, url: str, process: "subprocess.Popen[str]") -> None:
        self.url = url
        self.process = process

    def log(self) -> list[dict[str, Any]]:
        """The lines of the log, once the process has ended."""
        assert self.process.stderr is not None
        return [json.loads(line) for line in self.process.stderr.read().splitlines() if line.startswith("{")]

    def children(self) -> list[int]:
        """The processes that serve: those of its children that listen."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        found = [int(pid) for pid in path.read_text(encoding="ascii").split()]
        return [pid for pid in found if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@contextmanager
def served(bundle: Path, *options: str) -> Iterator[Served]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MIEN_")}
    process = subprocess.Popen(
        [Path(sys.executable).parent / "mien", "serve", "--port", str(port), "--bundle", bundle, *options],
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: status_of(url) == 200, process)
        yield Served(url, process)
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stderr is not None:
            process.stderr.close()


def until(true: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert process.poll() is None, "the server ended"
        assert time.monotonic() < deadline
        time.sleep(0.05)


def status_of(url: str) -> int | None:
    try:
        return httpx2.get(f"{url}/health/ready").status_code
    except httpx2.TransportError:
        return None


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal."""
    caught = re.search(r"^SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (number - 1) & 1)


def figure(url: str, name: str) -> float:
    families = text_string_to_metric_families(httpx2.get(f"{url}/metrics").text)
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)


def test_a_process_that_is_killed_is_replaced_and_figures_are_of_all(crop_file: bytes) -> None:
    with served(default_bundle(), "--processes", "2", "--rate-per-s", "0") as server:
        until(lambda: len(server.children()) == 2, server.process)
        before = set(server.children())
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
        until(lambda: len(set(server.children()) - before) == 1, server.process)
        # What the killed process had in its hands is lost, nothing else.
        assert statuses.count(200) >= len(statuses) - 2, statuses
        assert statuses[-1] == 200
        answered = {line for line in httpx2.get(f"{server.url}/metrics").text.splitlines() if "/retrieve" in line}
        assert answered
        assert figure(server.url, "mien_gallery_faces") > 1000

        # One that is still starting is ended by the signal, and the next loads the new bundle: nothing to count.
        until(lambda: all(catches(pid, signal.SIGHUP) for pid in server.children()), server.process)
        server.process.send_signal(signal.SIGHUP)
        until(lambda: figure(server.url, "mien_reloads_total") >= 2, server.process)
        assert httpx2.post(f"{server.url}/admin/reload").json()["status"] == "reloading"
        until(lambda: figure(server.url, "mien_reloads_total") >= 4, server.process)
        ask()
        assert statuses[-1] == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=20) == 0


def test_processes_that_cannot_start_end_the_service(tmp_path: Path) -> None:
    ended = subprocess.run(
        [Path(sys.executable).parent / "mien", "serve", "--port", "0", "--processes", "2", "--bundle", tmp_path],
        stderr=subprocess.PIPE,
        timeout=60,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "is not a bundle" in ended.stderr


def test_requests_that_have_begun_are_finished_and_new_ones_refused(crop_file: bytes) -> None:
    """Killed while an upload is under way: it is read to its end and answered."""
    with served(default_bundle(), "--drain-s", "2") as server, httpx2.Client(base_url=server.url) as open_connection:
        assert open_connection.get("/health/ready").status_code == 200
        head, tail = upload(crop_file)
        with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=20) as slow:
            slow.sendall(head)
            time.sleep(0.2)
            server.process.send_signal(signal.SIGTERM)
            until(lambda: open_connection.get("/health/ready").status_code == 503, server.process)
            refused = httpx2.post(f"{server.url}/classify", files={"image": crop_file})
            assert refused.status_code == 503
            assert refused.headers["retry-after"]
            assert open_connection.get("/health/live").status_code == 200
            slow.sendall(tail)
            assert slow.recv(2000).startswith(b"HTTP/1.1 200 ")
        assert server.process.wait(timeout=20) in (0, -signal.SIGTERM)
        log = server.log()
        assert not [line for line in log if line["level"] == "error"]
        assert {line["status"] for line in log if line["logger"] == "mien.requests"} == {200, 503}


def upload(file: bytes) -> tuple[bytes, bytes]:
    """A request in two halves."""
    body = b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n' + file + b"\r\n--b--\r\n"
    head = (
        "POST /classify?already_cropped=true HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    whole = head.encode() + body
    return whole[:-100], whole[-100:]


def test_slow_and_vanishing_callers_leave_nothing_behind(crop_file: bytes) -> None:
    with served(default_bundle(), "--timeout-s", "1.5", "--rate-per-s", "0") as server:
        port = int(server.url.rpartition(":")[2])
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
        until(lambda: figure(server.url, "mien_images_held") == 0, server.process)
        until(lambda: figure(server.url, "mien_body_bytes_held") == 0, server.process)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=20) in (0, -signal.SIGTERM)
        assert not [line for line in server.log() if line["level"] == "error"]


def decoders(process: int) -> list[int]:
    """The processes in which a service decodes videos."""
    tasks = Path(f"/proc/{process}/task").glob("*/children")
    found = [int(pid) for path in tasks for pid in path.read_text(encoding="ascii").split()]
    return [pid for pid in found if b"video/worker.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_killed_in_the_middle_of_uploads_and_of_a_video(
    crop_file: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was acknowledged is there, nothing half is, and no decoder lives on."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    video = encoded([scene([(200, 120)])] * 300)
    with served(default_bundle(), "--gallery", str(tmp_path / "faces")) as server:
        point = [0.5] * 64
        kept = httpx2.post(f"{server.url}/gallery", json={"items": [{"id": "kept", "embedding": point}]})
        assert kept.status_code in (200, 201)
        whole, _ = upload(crop_file)
        port = int(server.url.rpartition(":")[2])
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
            added.sendall(b"POST /gallery HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
            added.sendall(b'Content-Length: 500\r\n\r\n{"items": [{"id": "half", "embedding": [0.5')
            time.sleep(0.2)
            server.process.kill()
            server.process.wait(20)
            assert classified.recv(100) == b""
            assert added.recv(100) == b""
        deadline = time.monotonic() + 20
        while Path(f"/proc/{decoder}").exists():
            assert time.monotonic() < deadline, "the decoder outlives the service"
            time.sleep(0.05)
    assert list(temporary.iterdir()) == []
    with served(default_bundle(), "--gallery", str(tmp_path / "faces")) as server:
        found = httpx2.post(f"{server.url}/retrieve", json={"query": {"embedding": point}})
        assert [match["id"] for match in found.json()["matches"]] == ["kept"]


def test_a_caller_who_leaves_a_video_ends_its_decoder() -> None:
    video = encoded([scene([(200, 120)])] * 300)
    with served(default_bundle()) as server:
        with (
            httpx2.Client(timeout=20) as client,
            client.stream("POST", f"{server.url}/classify/video?fps=60", files={"video": video}) as lines,
        ):
            reading = lines.iter_lines()
            next(reading)
            assert len(decoders(server.process.pid)) == 1
        until(lambda: not decoders(server.process.pid), server.process)
        until(lambda: figure(server.url, "mien_videos_held") == 0, server.process)
        assert figure(server.url, "mien_body_bytes_held") == 0
        answered = figure(server.url, "mien_frames_total")
        assert answered < 300
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=20) in (0, -signal.SIGTERM)
        assert not [line for line in server.log() if line["level"] == "error"]


def test_a_full_disk_refuses_writes_and_answers_questions(tmp_path: Path) -> None:
    """Files of the service may grow no further, which it meets as a full disk."""
    with served(default_bundle(), "--gallery", str(tmp_path / "faces"), "--rate-per-s", "0") as server:
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
        assert status_of(server.url) == 200
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, limits)
        again = httpx2.post(f"{server.url}/gallery", json={"items": items}, timeout=30)
        assert again.status_code in (200, 201), "there is space again"


def test_a_reload_by_signal() -> None:
    with served(default_bundle()) as server:
        server.process.send_signal(signal.SIGHUP)
        until(lambda: figure(server.url, "mien_reloads_total") == 1, server.process)
        assert status_of(server.url) == 200


@pytest.mark.parametrize("option", ["--allow-public", "--keys"])
def test_a_public_address_has_to_be_meant(option: str) -> None:
    program = str(Path(sys.executable).parent / "mien")
    command = [program, "serve", "--host", "0.0.0.0", "--bundle", str(default_bundle())]  # noqa: S104
    ended = subprocess.run(command, stderr=subprocess.PIPE, timeout=60, text=True, check=False)
    assert ended.returncode == 1
    assert option in ended.stderr
