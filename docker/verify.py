"""Run docker-compose.yml on a real engine, and check what docs/deploy.md says about it.

``python docker/verify.py`` (``make docker-verify``) builds the image, starts the service under a separate project
name, sends requests, kills it, stops it, upgrades it, and removes everything again, also after a failure. It needs
Docker, docker-compose 1.29 or the compose plug-in, and curl; no Python package beyond the standard library.
"""

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from pictures import draw_photo, enlarge, hostile_pictures
from stack import IMAGE, PROJECT, FailedError, Stack, expect, is_at_hand, kill_9, run, words

LARGEST_IMAGE_MB: Final = 600
HEALTHY_WITHIN_S: Final = 10.0
BACK_WITHIN_S: Final = 10.0
WITH_DATABASE_S: Final = 60.0
SEEN_WITHIN_S: Final = 1.0
PROFILES: Final = ("distributed", "monitoring")
CALLERS: Final = 4
PROXY_IMAGE: Final = "haproxy:3.2"
MILVUS_IMAGE: Final = "milvusdb/milvus:v2.6.22"
PROMETHEUS_IMAGE: Final = "prom/prometheus:v3.13.3"
WITH_KEYS: Final = ("docker-compose.yml", "docker/keys.yml")
MEMORY_PEAK: Final = "/sys/fs/cgroup/memory.peak 2>/dev/null || cat /sys/fs/cgroup/memory/memory.max_usage_in_bytes"
COMPILERS: Final = ("cc", "gcc", "g++", "c++", "clang", "ld", "make", "cargo", "go")


def build(stack: Stack) -> str:
    """The image is built from the lock file."""
    stack.compose("build", "mien")
    return "done"


def inspect_image(_: Stack) -> str:
    """The image is small, and has neither a compiler nor torch."""
    megabytes = int(words("docker", "image", "inspect", "--format", "{{.Size}}", f"{IMAGE}:cpu")) / 1e6
    expect(megabytes < LARGEST_IMAGE_MB, f"an image below {LARGEST_IMAGE_MB} MB", f"{megabytes:.0f} MB")

    def inside(program: str, *arguments: str) -> str:
        alone = ("--network", "none", "--entrypoint", program)
        return words("docker", "run", "--rm", *alone, f"{IMAGE}:cpu", *arguments)

    found = inside("python", "-c", f"import shutil; print([c for c in {COMPILERS} if shutil.which(c)])")
    expect(found == "[]", "no compiler", found)
    found = inside("python", "-c", "import importlib.util; print(importlib.util.find_spec('torch'))")
    expect(found == "None", "no torch", found)
    expect(inside("id", "-u") != "0", "a user without privileges", "root")
    return f"{megabytes:.0f} MB"


def start(stack: Stack) -> str:
    """The service is healthy soon after it is started."""
    began = time.monotonic()
    stack.compose("up", "--detach", "--no-build", "mien")
    stack.wait_until(stack.is_healthy, HEALTHY_WITHIN_S, "health")
    took = time.monotonic() - began
    longest_s = HEALTHY_WITHIN_S * stack.patience
    expect(took < longest_s, f"health within {longest_s:g} s of up", f"{took:.1f} s")
    return f"healthy {took:.1f} s after up"


def classify_and_retrieve(stack: Stack) -> str:
    """The page is served, and both calls of the README are answered."""
    expect(
        b"<html" in run("curl", "--silent", "--show-error", "--fail", f"{stack.address}/"), "a page", "another answer"
    )
    curl = ("curl", "--silent", "--show-error", "--fail", "-F", f"image=@{stack.photo}")
    classified = json.loads(run(*curl, f"{stack.address}/classify"))
    retrieved = json.loads(run(*curl, f"{stack.address}/retrieve?k=10"))
    expect(len(classified["faces"]) == 1, "one face", classified)
    expect(abs(sum(classified["faces"][0]["posterior"].values()) - 1) < 1e-3, "a posterior", classified)
    expect(len(retrieved["faces"][0]["matches"]) == 10, "ten matches", retrieved)
    return f"{classified['faces'][0]['emotion']}, nearest {retrieved['faces'][0]['matches'][0]['id']}"


def check_confinement(stack: Stack) -> str:
    """The process has no capabilities, and can write only to the gallery and /tmp."""
    expect(stack.inspect(".HostConfig.ReadonlyRootfs"), "a read-only root", "a writable one")
    expect(stack.inspect(".HostConfig.CapDrop") == ["ALL"], "no capabilities", stack.inspect(".HostConfig.CapDrop"))
    for place, writable in (("/written", False), ("/opt/mien/written", False), ("/gallery/written", True)):
        program = f"import os; open('{place}', 'w').close(); os.remove('{place}')"
        came = stack.inside("python", "-c", program)
        expect((came.returncode == 0) == writable, f"{place} to be writable: {writable}", came.stderr.decode()[-200:])
    return "read-only except /gallery and /tmp, no capabilities"


def read_pictures(stack: Stack) -> str:
    """A large photograph is read and hostile pictures are refused, within the limits; a killed reader comes back."""
    restarts = stack.inspect(".RestartCount")
    large = stack.classify(picture=enlarge(stack.photo.read_bytes(), 12e6))
    expect(large.status == http.client.OK, "12 megapixels to be read", large.status)
    hostile = hostile_pictures()
    for name, picture in hostile.items():
        status = stack.classify(picture=picture).status
        refused = {http.client.REQUEST_ENTITY_TOO_LARGE, http.client.UNPROCESSABLE_ENTITY}
        expect(status in refused, f"the picture {name} to be refused", status)
    killing = r"""
import os
from pathlib import Path
for process in Path("/proc").glob("[0-9]*"):
    if (process / "cmdline").read_bytes().endswith(b"mien.model.faces.worker\0"):
        os.kill(int(process.name), 9)
        print(process.name)
"""
    killed = stack.inside("python", "-c", killing).stdout.split()
    expect(bool(killed), "processes that read pictures", "none")
    expect(stack.classify().status == http.client.OK, "a picture to be read after its process was killed", "a failure")
    expect(stack.inspect(".RestartCount") == restarts, "the service to go on", "a restart")
    peak = int(stack.inside("sh", "-c", f"cat {MEMORY_PEAK}").stdout.split()[0])
    return f"12 megapixels read, {len(hostile)} hostile pictures refused, {peak / 1e6:.0f} MB of memory at the most"


def kill_the_process(stack: Stack) -> str:
    """After kill -9 under requests and writes, the service restarts with every acknowledged write."""
    restarts = stack.inspect(".RestartCount")
    kept: list[str] = []
    with stack.load() as answers:
        stack.wait_until(lambda: any(answer.status == http.client.OK for answer in answers), 30, "an answer")
        killer = threading.Timer(0.5, lambda: kill_9(pid))
        pid = stack.inspect(".State.Pid")
        killer.start()
        for number in range(10_000):
            if stack.add(f"written-{number}").status != http.client.CREATED:
                break
            kept.append(f"written-{number}")
        killer.join()
        stack.wait_until(lambda: stack.inspect(".RestartCount") > restarts, BACK_WITHIN_S, "a restart")
        away_s = stack.wait_until(stack.is_ready, BACK_WITHIN_S, "the service to come back")
        again = len(answers)
        stack.wait_until(lambda: any(each.status == http.client.OK for each in answers[again:]), 30, "an answer")
    wrong = {answer.status for answer in answers} - {http.client.OK, http.client.SERVICE_UNAVAILABLE, None}
    expect(not wrong, "answers, or none while it is away", wrong)
    expect(bool(kept), "some writes to be acknowledged before the kill", "none")
    lost = stack.missing(kept)
    expect(not lost, "every acknowledged write to be there", f"{len(lost)} of {len(kept)} lost")
    return f"back {away_s:.1f} s after the restart, all {len(kept)} acknowledged writes there"


def stop_under_load(stack: Stack) -> str:
    """Stopped under load, the service answers earlier requests and exits."""
    with stack.load() as answers:
        stack.wait_until(lambda: len(answers) >= 4, 30, "answers")
        told = time.monotonic()
        stack.compose("stop", "mien")
        took = time.monotonic() - told
    before = [answer for answer in answers if answer.sent < told]
    failed = [answer for answer in before if answer.status != http.client.OK]
    expect(not failed, "every request from before the stop to be answered", f"{len(failed)} of {len(before)} not")
    container = words("docker", "ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={PROJECT}")
    code = words("docker", "inspect", "--format", "{{.State.ExitCode}}", container)
    expect(code == "0", "the exit status 0", code)
    alone = ("docker", "run", "--rm", "--volume", f"{PROJECT}_gallery:/gallery", "--entrypoint", "ls", f"{IMAGE}:cpu")
    left = [name for name in words(*alone, "/gallery").split() if name.endswith("-wal")]
    expect(not left, "a closed gallery", f"the write-ahead log {left}")
    expect("Traceback" not in stack.compose("logs", "--no-color", "mien"), "no traceback in the log", "one")
    stack.compose("up", "--detach", "--no-build", "mien")
    stack.wait_until(stack.is_ready, HEALTHY_WITHIN_S, "the service to come back")
    return f"in {took:.1f} s, nothing lost of {len(before)} requests"


def upgrade(stack: Stack) -> str:
    """A new image replaces the old one, on the same volume, which also stays when all else is removed."""
    old = stack.container
    file = b"FROM " + f"{IMAGE}:cpu".encode() + b"\nLABEL upgraded=yes\n"
    run("docker", "build", "--quiet", "--tag", f"{IMAGE}:cpu", "-", given=file)
    expect(stack.add("before-the-upgrade").status == http.client.CREATED, "a face to be added", "another answer")
    began = time.monotonic()
    stack.compose("up", "--detach", "--no-build", "mien")
    expect(stack.container != old, "a new container", "the old one")
    stack.wait_until(stack.is_ready, HEALTHY_WITHIN_S, "the new service to be ready")
    away_s = time.monotonic() - began
    expect(not stack.missing(["before-the-upgrade"]), "the gallery to be the same", "another")
    stack.compose("down")
    stack.compose("up", "--detach", "--no-build", "mien")
    stack.wait_until(stack.is_ready, HEALTHY_WITHIN_S, "a new container to be ready")
    expect(not stack.missing(["before-the-upgrade"]), "the gallery to be the same after down and up", "another")
    return f"answering again {away_s:.1f} s after up"


def restore(stack: Stack) -> str:
    """A snapshot that was taken during service restores a lost gallery."""
    snapshot = run(
        "docker", "exec", stack.container, "sh", "-c", "mien gallery snapshot /tmp/kept >&2 && tar -C /tmp -c kept"
    )
    stack.compose("down", "--volumes")
    stack.compose("up", "--detach", "--no-build", "mien")
    stack.wait_until(stack.is_ready, HEALTHY_WITHIN_S, "a new service to be ready")
    expect(stack.missing(["before-the-upgrade"]) != [], "the volume to be lost", "the face is still there")
    stack.give(snapshot, "sh", "-c", "tar -C /tmp -x && mien gallery restore /tmp/kept")
    stack.wait_until(lambda: not stack.missing(["before-the-upgrade"]), BACK_WITHIN_S, "the face to be back")
    return f"from {len(snapshot) / 1e6:.0f} MB, without a restart"


def require_keys(stack: Stack) -> str:
    """With keys.yml every request needs a key; keys come as a file, and Prometheus has one with the scope read."""
    stack.secrets.chmod(0o755)
    alone = ("docker", "run", "--rm", "--user", str(os.getuid()), "--volume", f"{stack.secrets}:/secrets")
    create = (*alone, f"{IMAGE}:cpu", "keys", "create", "--keys", "/secrets/keys")
    for scope in ("read", "write"):
        stack.keys[scope] = words(*create, "--scope", scope, f"{scope}-key")
    (stack.secrets / "keys").chmod(0o644)  # the containers' user must be able to read it
    (stack.secrets / "metrics_key").write_text(stack.keys["read"])
    stack.compose("up", "--detach", "--no-build", "mien", files=WITH_KEYS)
    stack.wait_until(stack.is_ready, HEALTHY_WITHIN_S, "the service with keys to be ready")
    asked = {key: stack.classify(key=stack.keys.get(key)).status for key in ("none", "read", "write")}
    wanted = {"none": http.client.UNAUTHORIZED, "read": http.client.OK, "write": http.client.OK}
    expect(asked == wanted, f"answers {wanted}", asked)
    added = {key: stack.add("with-a-key", key=stack.keys.get(key)).status for key in ("none", "read", "write")}
    wanted = {"none": http.client.UNAUTHORIZED, "read": http.client.FORBIDDEN, "write": http.client.CREATED}
    expect(added == wanted, f"answers {wanted}", added)
    inside = stack.inside("sh", "-c", "env; cat /proc/1/cmdline").stdout.decode()
    expect(not any(key in inside for key in stack.keys.values()), "no key in the environment", "one")
    monitored = monitor(stack)
    stack.compose("--profile", "monitoring", "rm", "--stop", "--force", "prometheus")
    stack.compose("up", "--detach", "--no-build", "mien")
    stack.wait_until(stack.is_ready, HEALTHY_WITHIN_S, "the service without keys to be ready")
    return f"401 without a key, 403 for a write with a read key; Prometheus: {monitored}"


def kill_a_replica(stack: Stack) -> str:
    """One of two replicas is killed under load: only the requests that it was working on are lost."""
    for image in (os.environ.get("PROXY_IMAGE", PROXY_IMAGE), os.environ.get("MILVUS_IMAGE", MILVUS_IMAGE)):
        if not is_at_hand(image):
            return f"skipped: image {image} is not available"
    stack.compose("--profile", "distributed", "build", "replica")
    stack.compose("rm", "--stop", "--force", "mien")
    stack.compose("--profile", "distributed", "up", "--detach", "--no-build", "proxy")
    stack.wait_until(stack.is_ready, WITH_DATABASE_S, "the proxy to find a replica")
    replicas = stack.containers("replica")
    expect(len(replicas) == 2, "two replicas", len(replicas))
    stack.wait_until(lambda: all(map(stack.is_healthy, replicas)), WITH_DATABASE_S, "both replicas to be healthy")
    seen_s = propagation_s(*replicas)
    expect(seen_s < SEEN_WITHIN_S * stack.patience, f"a face to be found within {SEEN_WITHIN_S:g} s", f"{seen_s:.2f} s")
    with stack.load(CALLERS) as answers:
        stack.wait_until(lambda: len(answers) >= 5 * CALLERS, 60, "answers")
        kill_9(stack.inspect(".State.Pid", replicas[0]))
        so_far = len(answers)
        stack.wait_until(lambda: len(answers) >= so_far + 5 * CALLERS, 60, "answers after the kill")
        stack.wait_until(lambda: stack.inspect(".RestartCount", replicas[0]) > 0, BACK_WITHIN_S, "a restart")
        stack.wait_until(lambda: all(map(stack.is_healthy, replicas)), 2 * BACK_WITHIN_S, "both to be healthy again")
    died = stack.died(replicas[0])
    lost = [(answer.status, round(answer.sent - died, 2)) for answer in answers if answer.status != http.client.OK]
    expect(len(lost) <= CALLERS, f"at most the {CALLERS} requests in flight to be lost", lost)
    expect(all(sent < 0 for _, sent in lost), "no request to be lost that was sent after it died", lost)
    found = f"a face added through one replica is found through the other after {seen_s:.2f} s"
    return f"{found}; {len(lost)} of {len(answers)} requests lost, all in flight at the kill"


def propagation_s(first: str, second: str) -> float:
    """Seconds from the answer to an addition at one replica until the other replica finds the face."""
    asking = f"""
import http.client, json, time
def ask(path, body):
    connection = http.client.HTTPConnection("127.0.0.1", 8000, timeout=30)
    connection.request("POST", path, json.dumps(body), {{"Content-Type": "application/json"}})
    return json.load(connection.getresponse())
point = {[9.0] * 64}
"""
    finding = """
end = time.time() + 60
while time.time() < end:
    if [match["id"] for match in ask("/retrieve", {"query": {"embedding": point}, "k": 1})["matches"]] == ["shared"]:
        print(time.time())
        break
    time.sleep(0.02)
"""
    adding = """
time.sleep(2)
assert ask("/gallery", {"items": [{"id": "shared", "embedding": point}]})["added"] == 1
print(time.time())
"""
    programs = [("docker", "exec", second, "python", "-c", asking + finding)]
    programs += [("docker", "exec", first, "python", "-c", asking + adding)]
    with ThreadPoolExecutor() as pool:
        found, added = (float(printed or b"inf") for printed in pool.map(lambda program: run(*program), programs))
    return found - added


def monitor(stack: Stack) -> str:
    """Prometheus finds the service, or its replicas and the proxy, and has loaded the rules."""
    image = os.environ.get("PROMETHEUS_IMAGE", PROMETHEUS_IMAGE)
    if not is_at_hand(image):
        return f"skipped: image {image} is not available"
    stack.compose("--profile", "monitoring", "up", "--detach", "--no-build", "prometheus")

    def asked(path: str) -> Any:
        address = f"http://127.0.0.1:{stack.prometheus_port}/api/v1/{path}"
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                return json.load(answer)["data"]
        except OSError:
            return None

    def value(expression: str) -> float:
        data = asked("query?" + urllib.parse.urlencode({"query": expression}))
        return float(data["result"][0]["value"][1]) if data and data["result"] else 0.0

    wanted = len(stack.containers("replica")) or 1
    took = stack.wait_until(lambda: value('sum(up{job="mien"})') == wanted, 30, f"{wanted} services to be found")
    expect(value("sum(mien_requests_total)") > 0, "requests to be counted", 0)
    expect(value("max(mien_gallery_faces)") > 0, "faces to be counted", 0)
    groups = asked("rules")["groups"]
    broken = [rule["name"] for group in groups for rule in group["rules"] if rule["health"] == "err"]
    expect(not broken, "rules without errors", broken)
    return f"{wanted} services found in {took:.1f} s, {sum(len(group['rules']) for group in groups)} rules"


STEPS: Final[tuple[Callable[[Stack], str], ...]] = (
    build,
    inspect_image,
    start,
    classify_and_retrieve,
    check_confinement,
    read_pictures,
    kill_the_process,
    classify_and_retrieve,
    stop_under_load,
    upgrade,
    classify_and_retrieve,
    restore,
    classify_and_retrieve,
    require_keys,
    kill_a_replica,
    monitor,
)


def tear_down(stack: Stack) -> None:
    """Remove containers, volumes, networks and images."""
    profiles = [word for profile in PROFILES for word in ("--profile", profile)]
    stack.compose(*profiles, "down", "--volumes", "--remove-orphans")
    label = f"label=com.docker.compose.project={PROJECT}"
    left = words("docker", "ps", "--all", "--quiet", "--filter", label)
    left += words("docker", "volume", "ls", "--quiet", "--filter", label)
    expect(not left, "no containers and volumes after the tests", left)
    for image in (f"{IMAGE}:cpu", f"{IMAGE}:distributed"):
        subprocess.run(["docker", "image", "rm", image], capture_output=True, check=False)  # noqa: S603, S607


def main() -> int:
    """Run every step; returns 0 if all succeed."""
    parser = argparse.ArgumentParser(description="Run docker-compose.yml on a real engine and check it.")
    parser.add_argument("--photo", type=Path, help="Photograph with one face (default: a drawing).")
    parser.add_argument(
        "--patience", type=float, default=1.0, metavar="X", help="Wait X times as long, for a busy machine."
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photo = arguments.photo.resolve() if arguments.photo else Path(folder) / "photo.png"
        stack = Stack(photo, Path(folder), arguments.patience)
        for secret in ("metrics_key", "grafana_password"):
            (stack.secrets / secret).touch()
        try:
            for step in STEPS:
                began = time.monotonic()
                came = step(stack)
                sys.stdout.write(f"{step.__name__:16} {time.monotonic() - began:6.1f} s  {came}\n")
                sys.stdout.flush()
                if step is build and arguments.photo is None:
                    photo.write_bytes(draw_photo())
        except FailedError as error:
            sys.stderr.write(f"{step.__name__}: {error}\n{stack.compose('logs', '--no-color', '--tail', '30')}\n")
            return 1
        finally:
            tear_down(stack)
    sys.stdout.write("all steps succeeded; containers, volumes and images are removed\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
