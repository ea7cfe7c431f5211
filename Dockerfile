# syntax=docker/dockerfile:1
#
# The image of every AgentOS process; what it is to be is its argument: serve, websocket, worker, migrate.
# glibc on purpose: there are no musl wheels of the embedded stores. --build-arg EXTRAS= leaves the media extra out,
# and with it everything under the GPL (see NOTICE); such an image serves, and cannot make clips.

FROM python:3.13-slim AS wheels
ARG EXTRAS=requirements/media.txt
WORKDIR /build
COPY requirements requirements
RUN python -m venv /opt/agentos \
    && /opt/agentos/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt \
    && /opt/agentos/bin/uv pip sync --no-cache --python /opt/agentos/bin/python --require-hashes --compile-bytecode \
        requirements/runtime.txt ${EXTRAS} \
    && /opt/agentos/bin/pip uninstall --yes --quiet uv pip

FROM python:3.13-slim AS pages
WORKDIR /build
COPY requirements requirements
RUN python -m venv /opt/node \
    && /opt/node/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements/node.txt
COPY agentos/pages agentos/pages
RUN PYTHON=/opt/node/bin/python requirements/pages

FROM python:3.13-slim AS image
ARG VERSION=5.0.0
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="AgentOS" \
      org.opencontainers.image.description="Video jobs through eleven agents to clips, watched and steered over one GraphQL schema" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.licenses="Apache-2.0"

# The only place that is written to besides /tmp; both are mounted when the root is read-only.
RUN groupadd --gid 10001 agentos \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin agentos \
    && install --directory --owner=10001 --group=10001 --mode=0750 /data

COPY --from=wheels /opt/agentos /opt/agentos
WORKDIR /srv/agentos
COPY LICENSE NOTICE pyproject.toml ./
COPY db db
COPY guards guards
COPY dataloaders dataloaders
COPY workers workers
COPY resolvers resolvers
COPY schema schema
COPY agentos agentos
COPY --from=pages /build/agentos/pages/built agentos/pages/built
RUN /opt/agentos/bin/python -m compileall -q --invalidation-mode unchecked-hash .

ENV PATH=/opt/agentos/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    AGENTOS_DATA_DIR=/data \
    AGENTOS_HOST=0.0.0.0
USER 10001:10001
VOLUME /data
EXPOSE 8001 8765

STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["python", "-m", "agentos", "health"]
ENTRYPOINT ["python", "-m", "agentos"]
CMD ["serve"]
