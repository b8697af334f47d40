# One image for every part of the stack that is ours: the service, MLflow, Ray's head and its workers.
#
#   docker build -t trialwright:0.1.0-cpu .
#   docker build -t trialwright:0.1.0-gpu --build-arg VARIANT=gpu .
#
# VARIANT=gpu differs in torch alone: PyPI's build for Linux carries CUDA, the other index's carries none. The driver comes
# from the host (NVIDIA's container toolkit).

ARG PYTHON=python:3.11.16-slim-bookworm@sha256:528257d48c1da0dcecc2e725d1ae34498d60c965f1241e39cd6a85a8859bdf84

FROM ${PYTHON} AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN pip install build==1.6.1 setuptools==84.2.1
COPY pyproject.toml README.md LICENSE ./
COPY search_spaces search_spaces
COPY trainers trainers
COPY study study
RUN python -m build --wheel --no-isolation --outdir /wheels

FROM ${PYTHON} AS environment
ARG VARIANT=cpu
ARG EXTRAS=cluster,service,reasoning
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/trialwright
COPY constraints.txt /constraints.txt
COPY --from=builder /wheels /wheels
RUN case "$VARIANT" in \
        cpu) export PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu ;; \
        gpu) ;; \
        *) echo "VARIANT is '$VARIANT', but must be cpu or gpu" >&2; exit 2 ;; \
    esac \
    && /opt/trialwright/bin/pip install -c /constraints.txt "$(echo /wheels/trialwright-*.whl)[$EXTRAS]" \
    && /opt/trialwright/bin/trialwright --version

FROM ${PYTHON} AS runtime
LABEL org.opencontainers.image.title="Trialwright" org.opencontainers.image.licenses="Apache-2.0"
RUN apt-get update \
    && apt-get install -y --no-install-recommends tini=0.19.0-1+b3 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 1000 trialwright \
    && useradd --uid 1000 --gid 1000 --create-home --shell /usr/sbin/nologin trialwright \
    && install -d -o trialwright -g trialwright /srv/trialwright /srv/models
COPY --from=environment /opt/trialwright /opt/trialwright
COPY deploy/image /opt/deploy
ENV PATH=/opt/trialwright/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/home/trialwright \
    TRIALWRIGHT_HOME=/srv/trialwright \
    HF_HOME=/srv/trialwright/cache/huggingface \
    MPLCONFIGDIR=/tmp/matplotlib \
    MLFLOW_DISABLE_TELEMETRY=true \
    DO_NOT_TRACK=true
USER 1000:1000
WORKDIR /home/trialwright
EXPOSE 8400
ENTRYPOINT ["tini", "-g", "--", "/opt/deploy/enter"]
CMD ["trialwright", "--help"]
