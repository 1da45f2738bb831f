# Images of the proxy, Prometheus and Milvus from Debian and PyPI packages, for an engine that cannot pull images:
#
#   docker build --file docker/stand-ins.Dockerfile --target proxy --tag mien-proxy docker
#   docker build --file docker/stand-ins.Dockerfile --target prometheus --tag mien-prometheus docker
#   docker build --file docker/stand-ins.Dockerfile --target milvus --tag mien-milvus docker
#   PROXY_IMAGE=mien-proxy PROMETHEUS_IMAGE=mien-prometheus MILVUS_IMAGE=mien-milvus make docker-verify

ARG DEBIAN=python:3.11-slim-bookworm

FROM ${DEBIAN} AS proxy
RUN apt-get update && apt-get install --yes --no-install-recommends haproxy && rm -rf /var/lib/apt/lists/*
USER haproxy

FROM ${DEBIAN} AS prometheus
RUN apt-get update && apt-get install --yes --no-install-recommends prometheus && rm -rf /var/lib/apt/lists/* \
 && install --directory --owner=65534 --group=65534 /prometheus
USER 65534:65534
ENTRYPOINT ["prometheus"]

FROM ${DEBIAN} AS milvus
RUN python3 -m venv /opt/milvus && /opt/milvus/bin/pip install --no-cache-dir "setuptools<80" milvus==2.3.5 \
 && printf '#!/bin/sh\nexec /opt/milvus/bin/milvus-server --data /var/lib/milvus --proxy-port 19530\n' > /usr/local/bin/milvus \
 && chmod +x /usr/local/bin/milvus
