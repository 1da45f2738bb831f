"""The page in headless Chromium: its size, the time to the first result and of many pictures, and the map's frames.

    python benchmarks/page.py photo.jpg --runs 5 --pictures 200

Starts a service on the bundle that ships, on this machine. Needs Chromium with its driver, and selenium. The map is
panned by a pointer event in every frame; frames in which it was drawn count. Prints median and range of the runs.
"""

import argparse
import base64
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from selenium import webdriver

SECONDS = 4
PATIENCE_S = 180

DROP = """
const [name, data, count, done] = arguments;
const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
const transfer = new DataTransfer();
for (let each = 0; each < count; each += 1) transfer.items.add(new File([bytes], each + name, { type: "image/jpeg" }));
const began = performance.now();
document.dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: transfer }));
const one = () => document.querySelector("#found .match img");
const all = () => document.getElementById("own-words").textContent.endsWith(`faces of ${count} pictures`);
const look = () => ((count === 1 ? one() : all()) ? done(performance.now() - began) : requestAnimationFrame(look));
look();
"""

PAN = """
const [seconds, done] = arguments;
const canvas = document.getElementById("map-canvas");
const box = canvas.getBoundingClientRect();
const send = (kind, x, y) => {
  const place = { clientX: box.left + x, clientY: box.top + y };
  canvas.dispatchEvent(new PointerEvent(kind, { pointerId: 1, bubbles: true, ...place }));
};
canvas.setPointerCapture = () => {};
send("pointerdown", 20, 20);
const began = performance.now();
const before = window.mien.map.drawn;
const gaps = [];
let last = began;
const step = () => {
  const now = performance.now();
  gaps.push(now - last);
  last = now;
  const t = (now - began) / 1000;
  if (t >= seconds) {
    send("pointerup", 20, 20);
    gaps.sort((a, b) => a - b);
    return done({ drawn: (window.mien.map.drawn - before) / t, slowest: gaps[Math.floor(gaps.length * 0.99)] });
  }
  send("pointermove", 20 + 180 * Math.sin(t * 2), 20 + 140 * Math.sin(t * 3.1));
  requestAnimationFrame(step);
};
requestAnimationFrame(step);
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photograph", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--pictures", type=int, default=200, help="copies of the photograph that are dropped at once")
    arguments = parser.parse_args()
    with service() as url, browser() as driver:
        report: dict[str, Any] = {"cores": os.cpu_count(), "page_bytes": page_bytes(url)}
        picture = base64.b64encode(arguments.photograph.read_bytes()).decode()
        drops, many, frames, slowest = [], [], [], []
        for _ in range(arguments.runs):
            open_page(driver, f"{url}/#/search", "document.querySelector('.try img')")
            drops.append(driver.execute_async_script(DROP, arguments.photograph.name, picture, 1) / 1000)
            open_page(driver, f"{url}/#/map", "window.mien?.map.drawn > 0")
            panned = driver.execute_async_script(PAN, SECONDS)
            frames.append(panned["drawn"])
            slowest.append(panned["slowest"])
            report["points"] = driver.execute_script("return window.mien.map.data.ids.length")
            open_page(driver, f"{url}/#/pictures", "document.querySelector('#own-empty')")
            many.append(
                driver.execute_async_script(DROP, arguments.photograph.name, picture, arguments.pictures) / 1000
            )
        report |= {
            "first_result_after_drop_s": spread(drops),
            f"{arguments.pictures}_pictures_s": spread(many),
            "map_frames_per_s": spread(frames),
            "map_99th_percentile_frame_ms": spread(slowest),
        }
    sys.stdout.write(json.dumps(report, indent=1) + "\n")


@contextmanager
def service() -> Iterator[str]:
    """The address of a service."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = "import sys; from mien.service.commands.main import main; sys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", program, "serve", "--port", str(port), "--rate-per-s", "0"], stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                if httpx.get(f"{url}/health/ready").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the service did not become ready")
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def browser() -> Iterator[webdriver.Chrome]:
    """Headless Chromium, 1360x900."""
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1360,900"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    driver.set_script_timeout(PATIENCE_S)
    try:
        yield driver
    finally:
        driver.quit()


def open_page(driver: webdriver.Chrome, address: str, condition: str) -> None:
    """Load an address, and wait for a condition."""
    driver.get("about:blank")
    driver.get(address)
    deadline = time.monotonic() + PATIENCE_S
    while not driver.execute_script(f"return Boolean({condition})"):
        if time.monotonic() > deadline:
            raise SystemExit(f"{address}: {condition} did not come true")
        time.sleep(0.05)
    time.sleep(0.5)


def page_bytes(url: str) -> int:
    """Size of all files of the page, as they are sent."""
    folder = Path(__file__).parents[1] / "service" / "page"
    return sum(len(httpx.get(f"{url}/page/{path.name}").content) for path in folder.iterdir())


def spread(values: list[float]) -> list[float]:
    """Median, minimum and maximum."""
    return [round(value, 3) for value in (statistics.median(values), min(values), max(values))]


if __name__ == "__main__":
    main()
