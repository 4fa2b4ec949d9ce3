#!/usr/bin/env bash
# Runs a training command on this machine until it is done, starting it again whenever it says "resume me".
#
#   launch/local.sh python -m avc_jax.main --config=configs/flickr.py --workdir=runs/flickr --config.data.root=/videos
#
# Exit codes 75 (stopped and saved), 134 (ended by the watchdog) and deaths by a signal are tried again; 64 to 66, 70 and 74 need a person.
# Stop it with Ctrl-C: the run saves, and this script ends with it.
set -u

wait_s=5
stopped=
trap 'stopped=1' INT TERM
while true; do
    "$@" &
    child=$!
    wait "$child"
    code=$?
    if [ -n "$stopped" ]; then
        kill -TERM "$child" 2>/dev/null
        wait "$child"
        exit 75
    fi
    case "$code" in
        75 | 134 | 137 | 139 | 143) echo "Exit code $code: starting again in $wait_s s." >&2; sleep "$wait_s" ;;
        *) exit "$code" ;;
    esac
done
