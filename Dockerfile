# One image for all of the Procfile's processes, out of Debian's and Python's registries alone:
#
#   docker build -t retry-engine .
#   docker run --env-file production.env retry-engine migrate     # release, once for each version
#   docker run --env-file production.env -p 8000:8000 retry-engine web
#   docker run --env-file production.env retry-engine worker
#   docker run --env-file production.env retry-engine beat
#
# A mirror of Python's registry, or its certificate, goes in as pip's settings and stays out of the
# image: docker build --secret id=pip,src=pip.conf .
#
# It needs DATABASE_URL and REDIS_URL: the servers for trying the engine are not in it.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
RUN apt-get update \
  && apt-get install --yes --no-install-recommends ca-certificates python3-venv \
  && rm -rf /var/lib/apt/lists/*
WORKDIR /src
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# what others wrote, by hash and in wheels: this layer changes only with the pins
COPY requirements requirements
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
  python3 -m venv /opt/build && python3 -m venv /opt/retry-engine \
  && /opt/build/bin/pip install --require-hashes --no-deps --only-binary :all: -r requirements/build.txt \
  && /opt/retry-engine/bin/pip install --require-hashes --no-deps --only-binary :all: -r requirements/deploy.txt
COPY pyproject.toml README.md LICENSE ./
COPY config config
COPY migrations migrations
COPY retry_engine retry_engine
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
  && /opt/retry-engine/bin/pip install --no-deps --no-index /wheels/*.whl \
  && /opt/retry-engine/bin/pip uninstall --yes pip

FROM ${BASE}
RUN apt-get update \
  && apt-get install --yes --no-install-recommends ca-certificates python3 \
  && rm -rf /var/lib/apt/lists/* \
  && useradd --uid 10001 --user-group --create-home --home-dir /var/lib/retry-engine retry-engine
COPY --from=build /opt/retry-engine /opt/retry-engine
# PORT makes web listen to the outside; SIGQUIT lets a worker finish or hand back what it does
ENV PATH=/opt/retry-engine/bin:/usr/bin:/bin \
  PORT=8000 \
  PYTHONUNBUFFERED=1 \
  REMAP_SIGTERM=SIGQUIT \
  RETRY_ENGINE_HOME=/var/lib/retry-engine
WORKDIR /var/lib/retry-engine
USER 10001:10001
EXPOSE 8000
ENTRYPOINT ["retry-engine"]
CMD ["web"]
