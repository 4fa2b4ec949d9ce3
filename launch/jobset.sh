#!/usr/bin/env bash
# Prints a Kubernetes JobSet that runs a training command on a slice of accelerators, a process on each machine, until it is done.
# Edit the settings, or give them in the environment:
#
#   launch/jobset.sh python -m avc_jax.main --config=configs/flickr.py --workdir=/shared/run --config.data.root=/shared/videos |
#     kubectl apply -f -
set -eu

NAME=${NAME:-avc-jax}
IMAGE=${IMAGE:-REGION-docker.pkg.dev/PROJECT/REPOSITORY/avc_jax:latest}
# A volume claim that many machines may write to (ReadWriteMany); it is mounted at /shared.
CLAIM=${CLAIM:-avc-jax}
# Slices, machines in each, and what each machine has. A v5e slice of 4x4 is 16 chips on 4 machines.
SLICES=${SLICES:-1}
MACHINES=${MACHINES:-4}
DEVICES=${DEVICES:-google.com/tpu: 4}
# The machines, by their labels, separated by commas. For GPUs, e.g. cloud.google.com/gke-accelerator: nvidia-h100-80gb, and above
# nvidia.com/gpu: 8.
LABELS=${LABELS:-cloud.google.com/gke-tpu-accelerator: tpu-v5-lite-podslice, cloud.google.com/gke-tpu-topology: 4x4}

# shellcheck source=launch/retry.sh
. "$(dirname "$0")/retry.sh"
[ $# -gt 0 ] || { echo "Usage: launch/jobset.sh COMMAND... | kubectl apply -f -" >&2; exit 64; }

# The arguments as one line of JSON, which is YAML.
quoted() {
    local argument separator=
    for argument in "$@"; do
        argument=${argument//\\/\\\\}
        printf '%s"%s"' "$separator" "${argument//\"/\\\"}"
        separator=', '
    done
}

cat <<YAML
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: "$NAME"
  annotations:
    # A slice is a node pool, and each is one job's alone.
    alpha.jobset.sigs.k8s.io/exclusive-topology: cloud.google.com/gke-nodepool
spec:
  # A process that fails fails its job, and with that all: they are made anew and resume, unless a person is needed.
  failurePolicy:
    maxRestarts: $MAX_RESTARTS
    rules:
    - name: needs_a_person
      action: FailJobSet
      onJobFailureReasons: [PodFailurePolicy]
  replicatedJobs:
  - name: slice
    replicas: $SLICES
    template:
      spec:
        completionMode: Indexed
        parallelism: $MACHINES
        completions: $MACHINES
        backoffLimit: 0
        podFailurePolicy:
          rules:
          # The codes that retry.sh does not retry.
          - action: FailJob
            onExitCodes:
              containerName: train
              operator: In
              values: [1, 2, 64, 65, 66, 70, 74, 126, 127]
        template:
          spec:
            restartPolicy: Never
            # From SIGTERM to SIGKILL; a spot machine has less before it is gone.
            terminationGracePeriodSeconds: 300
            nodeSelector: {$LABELS}
            containers:
            - name: train
              image: "$IMAGE"
              args: [$(quoted "$@")]
              # What avc_jax/parallel/init.py looks for, besides Kubernetes' own JOB_COMPLETION_INDEX.
              env:
              - {name: JOBSET_NAME, value: "$NAME"}
              - {name: REPLICATED_JOB_NAME, value: slice}
              - {name: NUM_JOBS, value: "$SLICES"}
              - {name: PODS_PER_JOB, value: "$MACHINES"}
              - name: JOB_INDEX
                valueFrom:
                  fieldRef: {fieldPath: "metadata.labels['jobset.sigs.k8s.io/job-index']"}
              resources:
                limits: {$DEVICES}
              volumeMounts:
              - {name: shared, mountPath: /shared}
            volumes:
            - name: shared
              persistentVolumeClaim: {claimName: "$CLAIM"}
YAML
