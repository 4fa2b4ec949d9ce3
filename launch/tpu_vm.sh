#!/usr/bin/env bash
# A Cloud TPU slice, from creating to deleting. Edit the settings, or give them in the environment; then
#
#   launch/tpu_vm.sh create           asks for the slice
#   launch/tpu_vm.sh install          this folder's avc_jax, on all its machines
#   launch/tpu_vm.sh run COMMAND...   starts training on all of them, each restarting it where that can help (see retry.sh)
#   launch/tpu_vm.sh watch            shows what the first machine prints
#   launch/tpu_vm.sh status           shows how training stands on every machine
#   launch/tpu_vm.sh stop             stops training, which saves; `run` resumes
#   launch/tpu_vm.sh delete           ends all costs of the slice
#   launch/tpu_vm.sh keep COMMAND...  creates, installs and runs, again after the slice was taken away, until training has ended
set -eu

PROJECT=${PROJECT:-my-project}
ZONE=${ZONE:-us-west4-a}
NAME=${NAME:-avc-jax}
ACCELERATOR=${ACCELERATOR:-v5litepod-16}
RUNTIME=${RUNTIME:-v2-alpha-tpuv5-lite}
# yes: a queued resource, which waits for its turn and may have many slices. no: a TPU VM, now or not at all.
QUEUED=${QUEUED:-yes}
SLICES=${SLICES:-1}
# Empty: not a spot machine.
SPOT=${SPOT---spot}
# A folder of an NFS server that all machines share, mounted at /shared.
SHARE=${SHARE:-10.0.0.2:/share}
POLL_S=${POLL_S:-60}

if [ "$QUEUED" = yes ]; then
    kind=queued-resources state=state.state all=(--node=all --worker=all)
else
    kind=tpu-vm state=state all=(--worker=all)
fi

tpus() {
    local verb=$1
    shift
    gcloud compute tpus "$kind" "$verb" "$@" --project="$PROJECT" --zone="$ZONE" --quiet
}

everywhere() { tpus ssh "$NAME" "${all[@]}" --command="$1"; }

create() {
    local nodes=(--node-id="$NAME")
    [ "$SLICES" = 1 ] || nodes=(--node-count="$SLICES" --node-prefix="$NAME")
    if [ "$QUEUED" = yes ]; then
        tpus create "$NAME" "${nodes[@]}" --accelerator-type="$ACCELERATOR" --runtime-version="$RUNTIME" ${SPOT:+"$SPOT"}
    else
        tpus create "$NAME" --accelerator-type="$ACCELERATOR" --version="$RUNTIME" ${SPOT:+"$SPOT"}
    fi
}

# What is committed now, in a Python of its own: the machines' may be older than we need.
commit=$(git rev-parse HEAD)
install() {
    local archive
    archive=$(mktemp --suffix=.tar.gz)
    git archive --output="$archive" "$commit"
    tpus scp "$archive" "$NAME:avc_jax.tar.gz" "${all[@]}"
    rm "$archive"
    everywhere "set -e
        sudo mkdir -p /shared
        mountpoint -q /shared || { sudo apt-get install -qq -y nfs-common; sudo mount -t nfs '$SHARE' /shared; }
        rm -rf avc_jax
        mkdir avc_jax
        tar -xzf avc_jax.tar.gz -C avc_jax
        cd avc_jax
        python3 -m pip install -q --user uv
        python3 -m uv venv -q --python=3.11 .venv
        python3 -m uv pip install -q --python=.venv -r requirements.txt 'jax[tpu]'
        python3 -m uv pip install -q --python=.venv --no-deps -e ."
}

# A unit of systemd, which is stopped by a SIGTERM also when the machine is taken away.
run() {
    local command
    command=$(printf '%q ' "$@")
    everywhere "cd avc_jax
        sudo systemctl stop avc_jax 2>/dev/null
        sudo systemctl reset-failed avc_jax 2>/dev/null
        sudo systemd-run --unit=avc_jax --uid=\$(id -u) --working-directory=\$PWD --setenv=PATH=\$PWD/.venv/bin:\$PATH \\
            --property=TimeoutStopSec=300 --property=RemainAfterExit=yes launch/local.sh $command"
}

# A line for each machine; "running", "exited" (done) or "failed" with the exit code, "dead" before the first run.
status() { everywhere 'systemctl show --property=SubState --property=ExecMainStatus avc_jax | paste -s -d " "'; }

# Where there is none, or it was taken away, a new slice is asked for. A command that fails is tried again in the next round.
keep() {
    local slice now
    while sleep "$POLL_S"; do
        slice=$(tpus list --filter="name~/$NAME\$" --format="value($state)") || continue
        case $slice in
            "") create || true ;;
            SUSPENDED | FAILED | PREEMPTED | TERMINATED) tpus delete "$NAME" || true ;;
            ACTIVE | READY)
                now=$(status) || continue
                case $now in
                    *failed*) echo "$now"; stop; return 70 ;;
                    *dead*) install && run "$@" || true ;;
                    *running*) ;;
                    *exited*) echo "$now"; return 0 ;;
                esac ;;
        esac
    done
}

stop() { everywhere 'sudo systemctl stop avc_jax'; }
watch() { tpus ssh "$NAME" --worker=0 --command='sudo journalctl --unit=avc_jax --follow --lines=100'; }
delete() { if [ "$QUEUED" = yes ]; then tpus delete "$NAME" --force; else tpus delete "$NAME"; fi; }

case ${1-} in
    create | install | run | watch | status | stop | delete | keep) "$@" ;;
    *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 64 ;;
esac
