"""Health check of a container: asks the service on this machine whether it is ready.

Run as ``python -m mien.service.operation.probe``. It imports only the standard library, as it runs every few seconds.
"""

import http.client
import os
import sys
from collections.abc import Mapping
from typing import Final

TIMEOUT_S: Final = 2.5


def probe(environment: Mapping[str, str]) -> str | None:
    """What is wrong with the service that has these environment variables; None if it is ready."""
    port = environment.get("MIEN_PORT") or "8000"
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/health/ready")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"expected an answer on port {port}, got {type(error).__name__}: {error}"
    finally:
        connection.close()
    return None if status == http.client.OK else f"expected 200 from /health/ready, got {status}"


if __name__ == "__main__":
    problem = probe(os.environ)
    if problem is not None:
        sys.exit(problem)
