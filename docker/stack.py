"""The service in containers, under a project name of its own: brought up, asked, killed, looked into."""

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
    """A step did not come out as it should."""


def expect(held: bool, wanted: str, came: object) -> None:  # noqa: FBT001 it reads as a sentence
    """Go on only if a condition held.

    Raises:
        FailedError: it did not.
    """
    if not held:
        raise FailedError(f"expected {wanted}, got {came}")


def run(*command: str, environment: dict[str, str] | None = None, given: bytes | None = None) -> bytes:
    """The standard output of a command that succeeds.

    Raises:
        FailedError: it did not.
    """
    done = subprocess.run(command, cwd=ROOT, env=environment, input=given, capture_output=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise FailedError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.decode()[-2000:]}")
    return done.stdout


def words(*command: str) -> str:
    """The standard output of a command that succeeds, as text without its last newline."""
    return run(*command).decode().strip()


def compose_command() -> list[str]:
    """How compose is called here: the program of its own, or the plug-in.

    Raises:
        FailedError: there is neither.
    """
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) is not None:
            answer = subprocess.run([*command, "version"], capture_output=True, check=False)  # noqa: S603
            if answer.returncode == 0:
                return command
    raise FailedError("expected docker-compose or the compose plug-in, got neither")


def is_at_hand(image: str) -> bool:
    """Whether the engine has an image, or can pull it."""
    there = subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False)  # noqa: S603, S607
    if there.returncode == 0:
        return True
    return subprocess.run(["docker", "pull", image], capture_output=True, check=False).returncode == 0  # noqa: S603, S607


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@dataclass
class Answer:
    """What came of one request: when it was sent, seconds on the monotonic clock; its status, None if none came."""

    sent: float
    status: int | None


@dataclass
class Stack:
    """The service under a project name of its own.

    Attributes:
        photo: what is asked about.
        secrets: folder of the files of secrets.
        patience: how many times as long as it should take everything may take.
        keys: that the service was given, by scope.
        port: where the service, or the proxy before it, is published.
        prometheus_port: where Prometheus is.
        compose_words: how compose is called.
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
        """Run compose on the project, as these files describe it; without any, as docker-compose.yml does."""
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
            FailedError: it has not exactly one.
        """
        found = self.containers("mien")
        expect(len(found) == 1, "one container of mien", len(found))
        return found[0]

    def inspect(self, path: str, container: str | None = None) -> Any:
        """Something the engine knows of a container, such as ``.State``; None is the service's."""
        return json.loads(words("docker", "inspect", "--format", f"{{{{json {path}}}}}", container or self.container))

    def died(self, container: str) -> float:
        """When the process of a container that was started again ended, on the monotonic clock.

        On a busy machine that is a while after it was killed, and until then it takes connections.
        """
        ended = datetime.fromisoformat(self.inspect(".State.FinishedAt", container).replace("Z", "+00:00"))
        return ended.timestamp() - time.time() + time.monotonic()

    def give(self, given: bytes, *command: str) -> None:
        """Run a command in the container, which reads ``given``."""
        run("docker", "exec", "--interactive", self.container, *command, given=given)

    def inside(self, *command: str) -> subprocess.CompletedProcess[bytes]:
        """Run a command in the container."""
        return subprocess.run(["docker", "exec", self.container, *command], capture_output=True, check=False)  # noqa: S603, S607

    def wait_until(self, held: Callable[[], bool], within_s: float, wanted: str) -> float:
        """Wait for something, ``patience`` times ``within_s`` at most; returns how long it took, seconds.

        Raises:
            FailedError: it took too long.
        """
        began = time.monotonic()
        within_s *= self.patience
        while not held():
            expect(time.monotonic() - began < within_s, f"{wanted} within {within_s:g} s", "no sign of it")
            time.sleep(0.05)
        return time.monotonic() - began

    def is_healthy(self, container: str | None = None) -> bool:
        """What the image's healthcheck found last."""
        return bool(self.inspect(".State.Health.Status", container) == "healthy")

    def is_ready(self) -> bool:
        """Whether the service says that it answers requests."""
        return self.ask("GET", "/health/ready").status == http.client.OK

    def ask(self, method: str, path: str, body: bytes | None = None, kind: str = "", key: str | None = None) -> Answer:
        """One request, on a connection of its own, with a key if there is one."""
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

    def classify(self, key: str | None = None) -> Answer:
        """Ask for the emotions of the photograph."""
        body, kind = self._form()
        return self.ask("POST", "/classify", body, kind, key)

    def add(self, face_id: str, key: str | None = None) -> Answer:
        """Add a face to the gallery, by an embedding."""
        face = {"id": face_id, "embedding": [float(number) for number in range(64)]}
        return self.ask("POST", "/gallery", json.dumps({"items": [face]}).encode(), "application/json", key)

    def missing(self, face_ids: list[str]) -> list[str]:
        """Those of some faces that are not in the gallery."""
        return [each for each in face_ids if self.ask("GET", f"/gallery/{each}").status != http.client.OK]

    def _form(self) -> tuple[bytes, str]:
        boundary = "a-photograph"
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="photo"\r\n\r\n'
        return head.encode() + self.photo.read_bytes() + f"\r\n--{boundary}--\r\n".encode(), (
            f"multipart/form-data; boundary={boundary}"
        )

    @contextmanager
    def load(self, threads: int = 2) -> Iterator[list[Answer]]:
        """Keep asking from several threads; gives the answers so far."""
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
    """Kill a process of the engine's machine as the kernel does when memory ends.

    ``docker kill`` would not do: the engine takes it for a wish, and restarts nothing.
    """
    as_root = ("--pid", "host", "--user", "0", "--entrypoint", "python")
    run("docker", "run", "--rm", *as_root, f"{IMAGE}:cpu", "-c", f"import os; os.kill({pid}, 9)")
