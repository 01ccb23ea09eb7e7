# The image of a worker, and of the driver beside it. Build it for the devices it will use:
#   docker build --build-arg DEVICE=cuda -t REGISTRY/isoflop:1 .     (or tpu, or cpu)
FROM python:3.12-slim

# The libraries come first: a changed source then rebuilds in seconds.
WORKDIR /opt/isoflop
COPY setup.py pyproject.toml constraints.txt ./
ARG DEVICE=cuda
RUN extras=$([ "$DEVICE" = cpu ] && echo kubernetes,tensorboard || echo "kubernetes,tensorboard,$DEVICE") \
    && pip install --no-cache-dir --constraint constraints.txt ".[$extras]"

COPY models models
COPY experiments experiments
COPY scaling scaling
COPY launch launch
RUN pip install --no-cache-dir --no-deps --force-reinstall . && rm -rf build

# A user of its own; the shared volume must be writable for it, or for the `user` of the site file.
RUN useradd --create-home --uid 1000 isoflop
USER isoflop
WORKDIR /home/isoflop
ENV PYTHONUNBUFFERED=1
CMD ["isoflop", "--help"]
