# shellcheck shell=bash
# Sourced by the launchers: what they do when a run ends, and how they wait for that.

MAX_RESTARTS=${MAX_RESTARTS:-100}

# Whether a run that ended with exit code $1, after $2 restarts, is worth another try: 75 is "stopped and saved", above 128 it was
# ended by a signal (134: by the watchdog, or by JAX for want of a peer). All else needs a person: 64 config, 65 data, 66 missing
# input, 70 diverged, 74 cannot write, and what Python and shells say of a broken installation.
worth_retrying() {
    [ "$2" -lt "$MAX_RESTARTS" ] && { [ "$1" -eq 75 ] || [ "$1" -gt 128 ]; }
}

# Waits until process $1 is gone and returns its exit code. `wait` alone also returns at a signal, with a code above 128.
wait_to_the_end() {
    local code
    while wait "$1"; code=$?; [ "$code" -gt 128 ] && kill -0 "$1" 2>/dev/null; do :; done
    return "$code"
}
