# assay with all that its steps and its command line need: for stacks whose steps run in containers, and for a clock that
# starts `assay run CONFIG --slot T`. `make image` builds it; docs/image.md says what can be set, and what for.
# BASE_IMAGE: Python 3.11 (`python3`, with venv) on a Linux with glibc.
ARG BASE_IMAGE=python:3.11.14-slim-bookworm

FROM ${BASE_IMAGE} AS packages
# CONSTRAINTS: constraints.txt, or the list of a cloud's own environment, .venv-aws/constraints.txt.
ARG CONSTRAINTS=constraints.txt
ARG EXTRAS=documents,kubernetes,s3
ENV PATH=/opt/venv/bin:$PATH \
    PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /opt/assay
COPY ${CONSTRAINTS} /opt/constraints.txt
COPY pyproject.toml README.md LICENSE ./
# Where packages come from is pip's own configuration, given as a secret: it may hold a password. What is in the folder
# by now is a package without modules, which brings the libraries and leaves no layer to be made again when code changes.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    python3 -m venv /opt/venv \
    && pip install --no-cache-dir --constraint /opt/constraints.txt torch==2.13.0 \
    && pip install --no-cache-dir --constraint /opt/constraints.txt ".[${EXTRAS}]" \
    && rm -r build ./*.egg-info

FROM packages AS assay
# COMMIT: of the checkout, with "+changes" where tracked files differ from it; runs in the image are recorded with it.
ARG COMMIT=""
ARG VERSION=""
# What kernels are compiled for: any server of the last ten years; x86-64 without AVX2, and ARM: generic.
ARG KERNEL_CPU=x86-64-v3
COPY configs configs
COPY examples examples
COPY .zenml/stacks .zenml/stacks
COPY steps steps
COPY materializers materializers
COPY pipelines pipelines
COPY ops ops
ENV ASSAY_ROOT=/opt/assay \
    ASSAY_STATE=/var/lib/assay \
    HOME=/home/assay \
    NUMBA_CACHE_DIR=/var/cache/assay/kernels \
    NUMBA_CPU_NAME=${KERNEL_CPU} \
    NUMBA_CPU_FEATURES=""
# Steps unpack their code into /app (ZenML). What is written to belongs to the group 0 as well, so that any user number
# will do (`docker run --user`, OpenShift); code and libraries belong to root, and are read only.
RUN useradd --uid 10001 --gid 0 --home-dir /home/assay --create-home assay \
    && pip install --no-cache-dir --no-deps --no-index --no-build-isolation --editable . \
    && if [ -n "$COMMIT" ]; then echo "$COMMIT" > COMMIT; fi \
    && python -m steps.zenml_runtime.light_start \
    && python -m compileall -q steps materializers pipelines ops examples \
    && install -m 755 ops/deploy/serve /usr/local/bin/serve \
    && install -d -o 10001 -g 0 -m 2775 /app /home/assay /var/lib/assay /var/cache/assay /var/cache/assay/kernels
# Kernels are compiled here, so that no container does it; and an image in which the whole job doesn't run is none.
USER 10001:0
RUN python -m ops.kernels \
    && ASSAY_STATE=/tmp/ahead assay run configs/runs/smoke.yaml \
    && rm -rf /tmp/* \
    && chmod -R g+rwX /var/cache/assay
LABEL org.opencontainers.image.title="assay" \
      org.opencontainers.image.description="From raw text to a registered, audited, fine-tuned LLM" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}"
CMD ["assay", "--help"]

# torch for NVIDIA's GPUs brings their libraries; the driver comes from the machine.
FROM assay AS cuda
RUN python -c "import torch; assert torch.version.cuda, 'this torch is for CPUs: give an index that has the other one'"
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

FROM assay AS cpu
