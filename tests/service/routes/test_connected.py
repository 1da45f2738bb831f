"""A client who goes before the answer."""

import http.client
import socket

import pytest

from mien.service.app import create_app_on
from mien.service.inference.engine import Engine
from mien.service.inference.runtime import Runtime
from mien.service.settings import Settings
from tests.support import hostile_pictures as hostile
from tests.support.serving import served_app
from tests.support.waiting import wait_until


@pytest.mark.parametrize("path", ["/classify", "/explain"])
def test_work_for_a_client_who_has_gone_ends(served_engine: Engine, path: str) -> None:
    runtime = Runtime(served_engine, Settings(workers=1, max_image_cpu_s=100, timeout_s=100))
    file = hostile.run_length_bmp()
    body = b'--B\r\nContent-Disposition: form-data; name="image"; filename="f"\r\n\r\n' + file + b"\r\n--B--\r\n"
    with served_app(create_app_on(runtime)) as url:
        connection = http.client.HTTPConnection("127.0.0.1", int(url.rpartition(":")[2]))
        connection.request("POST", path, body, {"Content-Type": "multipart/form-data; boundary=B"})
        wait_until(lambda: bool(runtime.readers.pids()) and runtime.readers.is_busy)
        assert runtime.admission.images.held == 1
        (pid,) = runtime.readers.pids()
        assert isinstance(connection.sock, socket.socket)
        connection.sock.close()
        wait_until(lambda: runtime.admission.images.held == 0)
        wait_until(lambda: pid not in runtime.readers.pids())
