#!/usr/bin/env bash
# Runs a training command on this machine until it is done, starting it again whenever that can help (see retry.sh).
#
#   launch/local.sh python -m avc_jax.main --config=configs/flickr.py --workdir=runs/flickr --config.data.root=/videos
#
# Stop it with Ctrl-C: the run saves, and this script ends with it.
set -u
# shellcheck source=launch/retry.sh
. "$(dirname "$0")/retry.sh"
[ $# -gt 0 ] || { echo "Usage: launch/local.sh COMMAND..." >&2; exit 64; }

wait_s=${WAIT_S:-5}
stopped=
child=
trap 'stopped=1; [ -z "$child" ] || kill -TERM "$child" 2>/dev/null' INT TERM
for ((restarts = 0; ; restarts++)); do
    "$@" &
    child=$!
    wait_to_the_end "$child"
    code=$?
    child=
    if [ -n "$stopped" ] || ! worth_retrying "$code" "$restarts"; then exit "$code"; fi
    echo "Exit code $code: starting again in $wait_s s." >&2
    sleep "$wait_s"
    [ -z "$stopped" ] || exit "$code"
done
