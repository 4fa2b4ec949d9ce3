# The image that launch/jobset.sh runs; see docs/launch/jobset.md.
#
#   docker build --build-arg ACCELERATOR=tpu --tag=REGION-docker.pkg.dev/PROJECT/REPOSITORY/avc_jax .
FROM python:3.11-slim-bookworm

# As process 1, Python would survive a SIGTERM that comes before it listens for one, and an abort would not end it with 134.
RUN apt-get update && apt-get install -y --no-install-recommends tini && rm -rf /var/lib/apt/lists/*

# JAX's own names: tpu, cuda12, cuda13; empty for CPUs.
ARG ACCELERATOR=tpu
WORKDIR /avc_jax
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt "jax${ACCELERATOR:+[$ACCELERATOR]}"
COPY . .
RUN pip install --no-cache-dir --no-deps -e .

ENTRYPOINT ["tini", "--"]
CMD ["python", "-m", "avc_jax.main", "--help"]
