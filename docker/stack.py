"""A compose project of the service for ``verify.py``: containers, requests, load, kills."""

import http.client
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]

PROJECT: Final = "mien-verify"
IMAGE: Final = "mien-verify"


class FailedError(Exception):
    """A step failed."""


def expect(held: bool, wanted: str, came: object) -> None:  # noqa: FBT001 it reads as a sentence
    """Check a condition.

    Raises:
        FailedError: the condition is false.
    """
    if not held:
        raise FailedError(f"expected {wanted}, got {came}")


def run(*command: str, environment: dict[str, str] | None = None, given: bytes | None = None) -> bytes:
    """The standard output of a command.

    Raises:
        FailedError: the command failed.
    """
    done = subprocess.run(command, cwd=ROOT, env=environment, input=given, capture_output=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise FailedError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.decode()[-2000:]}")
    return done.stdout


def words(*command: str) -> str:
    """The standard output of a command as text, without surrounding white space."""
    return run(*command).decode().strip()


def compose_command() -> list[str]:
    """The words that call compose: the plug-in or the stand-alone program.

    Raises:
        FailedError: neither is installed.
    """
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) is not None:
            answer = subprocess.run([*command, "version"], capture_output=True, check=False)  # noqa: S603
            if answer.returncode == 0:
                return command
    raise FailedError("expected docker-compose or the compose plug-in, got neither")


def is_at_hand(image: str) -> bool:
    """Whether the engine has an image or can pull it."""
    there = subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False)  # noqa: S603, S607
    if there.returncode == 0:
        return True
    return subprocess.run(["docker", "pull", image], capture_output=True, check=False).returncode == 0  # noqa: S603, S607


def free_port() -> int:
    """A free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@dataclass
class Answer:
    """When a request was sent (seconds, monotonic clock), and the status of its answer, None without an answer."""

    sent: float
    status: int | None


@dataclass
class Stack:
    """The service in a separate compose project.

    Attributes:
        photo: the picture that requests send.
        secrets: folder of the secret files.
        patience: factor on all time limits.
        keys: API keys of the service, by scope.
        port: published port of the service, or of the proxy.
        prometheus_port: published port of Prometheus.
        compose_words: the words that call compose.
    """

    photo: Path
    secrets: Path
    patience: float = 1.0
    keys: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    prometheus_port: int = field(default_factory=free_port)
    compose_words: list[str] = field(default_factory=compose_command)

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def compose(self, *arguments: str, files: Sequence[str] = ()) -> str:
        """Run compose on the project with these files (default: docker-compose.yml)."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MIEN_")}
        environment |= {
            "IMAGE": IMAGE,
            "PUBLISH": self.address,
            "PUBLISH_PROMETHEUS": f"127.0.0.1:{self.prometheus_port}",
            "SECRETS": str(self.secrets),
        }
        named = [word for file in files for word in ("--file", file)]
        command = (*self.compose_words, *named, "--project-name", PROJECT, *arguments)
        return run(*command, environment=environment).decode()

    def containers(self, service: str) -> list[str]:
        """The ids of a service's containers."""
        return self.compose("ps", "-q", service).split()

    @property
    def container(self) -> str:
        """The id of the service's container.

        Raises:
            FailedError: there is not exactly one.
        """
        found = self.containers("mien")
        expect(len(found) == 1, "one container of mien", len(found))
        return found[0]

    def inspect(self, path: str, container: str | None = None) -> Any:
        """A part of the engine's description of a container, such as ``.State``; by default the service's."""
        return json.loads(words("docker", "inspect", "--format", f"{{{{json {path}}}}}", container or self.container))

    def died(self, container: str) -> float:
        """When the previous process of a restarted container ended, on the monotonic clock.

        On a busy machine that is some time after the kill, and until then it accepts connections.
        """
        ended = datetime.fromisoformat(self.inspect(".State.FinishedAt", container).replace("Z", "+00:00"))
        return ended.timestamp() - time.time() + time.monotonic()

    def give(self, given: bytes, *command: str) -> None:
        """Run a command in the container with ``given`` as its input."""
        run("docker", "exec", "--interactive", self.container, *command, given=given)

    def inside(self, *command: str) -> subprocess.CompletedProcess[bytes]:
        """Run a command in the container."""
        return subprocess.run(["docker", "exec", self.container, *command], capture_output=True, check=False)  # noqa: S603, S607

    def wait_until(self, held: Callable[[], bool], within_s: float, wanted: str) -> float:
        """Wait at most ``patience`` times ``within_s`` for a condition; returns the seconds it took.

        Raises:
            FailedError: it took longer.
        """
        began = time.monotonic()
        within_s *= self.patience
        while not held():
            expect(time.monotonic() - began < within_s, f"{wanted} within {within_s:g} s", "no sign of it")
            time.sleep(0.05)
        return time.monotonic() - began

    def is_healthy(self, container: str | None = None) -> bool:
        """Whether the last health check of the image succeeded."""
        return bool(self.inspect(".State.Health.Status", container) == "healthy")

    def is_ready(self) -> bool:
        """Whether the service reports that it answers requests."""
        return self.ask("GET", "/health/ready").status == http.client.OK

    def ask(self, method: str, path: str, body: bytes | None = None, kind: str = "", key: str | None = None) -> Answer:
        """Send one request on a new connection, with a key if there is one."""
        sent = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            headers = {"Content-Type": kind} if kind else {}
            headers |= {"Authorization": f"Bearer {key}"} if key is not None else {}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            return Answer(sent, None)
        finally:
            connection.close()
        return Answer(sent, answer.status)

    def classify(self, key: str | None = None, picture: bytes | None = None) -> Answer:
        """Send a picture, by default the photograph, to ``/classify``."""
        body, kind = self._form(self.photo.read_bytes() if picture is None else picture)
        return self.ask("POST", "/classify", body, kind, key)

    def add(self, face_id: str, key: str | None = None) -> Answer:
        """Add a face to the gallery by its embedding."""
        face = {"id": face_id, "embedding": [float(number) for number in range(64)]}
        return self.ask("POST", "/gallery", json.dumps({"items": [face]}).encode(), "application/json", key)

    def missing(self, face_ids: list[str]) -> list[str]:
        """The ids that are not in the gallery."""
        return [each for each in face_ids if self.ask("GET", f"/gallery/{each}").status != http.client.OK]

    def _form(self, picture: bytes) -> tuple[bytes, str]:
        boundary = "a-photograph"
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="photo"\r\n\r\n'
        return head.encode() + picture + f"\r\n--{boundary}--\r\n".encode(), (
            f"multipart/form-data; boundary={boundary}"
        )

    @contextmanager
    def load(self, threads: int = 2) -> Iterator[list[Answer]]:
        """Send requests from several threads; yields the list of answers, which grows."""
        answers: list[Answer] = []
        stop = threading.Event()

        def keep_asking() -> None:
            while not stop.is_set():
                answer = self.classify()
                answers.append(answer)
                if answer.status is None:
                    time.sleep(0.02)

        workers = [threading.Thread(target=keep_asking) for _ in range(threads)]
        for worker in workers:
            worker.start()
        try:
            yield answers
        finally:
            stop.set()
            for worker in workers:
                worker.join()


def kill_9(pid: int) -> None:
    """Kill a process on the host, like the kernel when memory runs out.

    After ``docker kill`` the engine would not restart the container.
    """
    as_root = ("--pid", "host", "--user", "0", "--entrypoint", "python")
    run("docker", "run", "--rm", *as_root, f"{IMAGE}:cpu", "-c", f"import os; os.kill({pid}, 9)")
