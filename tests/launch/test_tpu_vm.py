"""launch/tpu_vm.sh without a TPU: the commands it gives to a stand-in for gcloud, and what it makes of the answers."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMAND = ("python", "-m", "avc_jax.main", "--workdir=/shared/runs/two words")

# Of the reference of gcloud's `compute tpus`, what we use.
EVERYWHERE = {"--project", "--zone", "--quiet"}
ALLOWED = {
    "tpu-vm create": {"--accelerator-type", "--version", "--spot"},
    "tpu-vm ssh": {"--worker", "--command"},
    "tpu-vm scp": {"--worker"},
    "tpu-vm list": {"--filter", "--format"},
    "tpu-vm delete": set(),
    "queued-resources create": {"--accelerator-type", "--runtime-version", "--spot", "--node-id", "--node-count",
                                "--node-prefix"},
    "queued-resources ssh": {"--worker", "--node", "--command"},
    "queued-resources scp": {"--worker", "--node"},
    "queued-resources list": {"--filter", "--format"},
    "queued-resources delete": {"--force"},
}

# Stand-ins: gcloud, with a slice, whose commands for the machines run here; and what those call. The first look at a
# unit that runs finds the slice taken away, the second finds the unit ended.
PROGRAMS = {
    "gcloud": r"""
        printf '%s\037' "$@" >>"$FAKE/calls"
        printf '\036' >>"$FAKE/calls"
        for argument in "$@"; do
            case $argument in --command=*) command=${argument#--command=} ;; esac
        done
        case "$3 $4" in
            "queued-resources list") [[ $* != *"value(state.state)"* ]] || cat "$FAKE/state" 2>/dev/null || true ;;
            "tpu-vm list") [[ $* != *"value(state)"* ]] ||
                sed 's/ACTIVE/READY/; s/SUSPENDED/PREEMPTED/' "$FAKE/state" 2>/dev/null || true ;;
            *" create") echo ACTIVE >"$FAKE/state" ;;
            *" delete") rm -f "$FAKE/state"; echo dead >"$FAKE/unit" ;;
            *" ssh") cd "$FAKE/machine" && bash -c "$command" ;;
            *" scp") cp "$5" "$FAKE/machine/${6#*:}" ;;
        esac """,
    "sudo": 'exec "$@"',
    "mountpoint": "exit 0",
    "mkdir": '[ "$2" = /shared ] || exec /bin/mkdir "$@"',
    "python3": "exit 0",
    "journalctl": 'echo "$@"',
    "systemd-run": 'printf "%s\\n" "$@" >>"$FAKE/ran"; echo running >"$FAKE/unit"',
    "systemctl": """
        [ "$1" != stop ] || echo stopped >>"$FAKE/stopped"
        [ "$1" = show ] || exit 0
        unit=$(cat "$FAKE/unit" 2>/dev/null || echo dead)
        if [ "$unit" = running ] && [ -e "$FAKE/taken" ]; then
            unit=${FAKE_END:-exited}
        elif [ "$unit" = running ]; then
            touch "$FAKE/taken"
            echo SUSPENDED >"$FAKE/state"
        fi
        echo "ExecMainStatus=0"
        echo "SubState=$unit" """,
}


@pytest.fixture
def fake(tmp_path):
    for name in ("bin", "machine"):
        (tmp_path / name).mkdir()
    for name, script in PROGRAMS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path


def tpu_vm(fake: Path, *words: str, **settings: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"FAKE": str(fake), "PATH": f"{fake / 'bin'}:{os.environ['PATH']}", "POLL_S": "0"} | settings
    return subprocess.run(["launch/tpu_vm.sh", *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)


def calls(fake: Path) -> list[list[str]]:
    """The words of each call of gcloud, checked to be of the reference; without the flags that all share."""
    made = [call.split("\037")[:-1] for call in (fake / "calls").read_text().split("\036")[:-1]]
    for words in made:
        assert words[:2] == ["compute", "tpus"]
        flags = {word.split("=")[0] for word in words if word.startswith("--")}
        assert flags <= ALLOWED[" ".join(words[2:4])] | EVERYWHERE and flags >= EVERYWHERE
    return [[word for word in words[2:] if word.split("=")[0] not in EVERYWHERE] for words in made]


@pytest.mark.parametrize(("settings", "expected"), [
    ({}, ["queued-resources", "create", "avc-jax", "--node-id=avc-jax", "--accelerator-type=v5litepod-16",
          "--runtime-version=v2-alpha-tpuv5-lite", "--spot"]),
    ({"SLICES": "2", "SPOT": "", "NAME": "two"}, ["queued-resources", "create", "two", "--node-count=2", "--node-prefix=two",
                                                  "--accelerator-type=v5litepod-16", "--runtime-version=v2-alpha-tpuv5-lite"]),
    ({"QUEUED": "no"}, ["tpu-vm", "create", "avc-jax", "--accelerator-type=v5litepod-16", "--version=v2-alpha-tpuv5-lite",
                        "--spot"]),
])
def test_create(fake, settings, expected):
    assert tpu_vm(fake, "create", **settings).returncode == 0
    assert calls(fake) == [expected]


@pytest.mark.parametrize(("queued", "where"), [("yes", ["--node=all", "--worker=all"]), ("no", ["--worker=all"])])
def test_every_machine_is_installed_and_runs_the_command(fake, queued, where):
    for words in (("install",), ("run", *COMMAND), ("status",), ("watch",), ("stop",), ("delete",)):
        done = tpu_vm(fake, *words, QUEUED=queued)
        assert done.returncode == 0, done.stderr
    copied, *others = calls(fake)
    assert copied[1] == "scp" and copied[-len(where):] == where
    assert [word for word in others[0] if word in where] == where
    assert (fake / "machine" / "avc_jax" / "launch" / "local.sh").exists()
    ran = (fake / "ran").read_text().splitlines()
    assert ran[-len(COMMAND) - 1:] == ["launch/local.sh", *COMMAND]


@pytest.mark.parametrize("queued", ["yes", "no"])
def test_a_slice_that_is_taken_away_is_asked_for_again_until_training_is_done(fake, queued):
    done = tpu_vm(fake, "keep", *COMMAND, QUEUED=queued)
    assert done.returncode == 0, done.stderr
    verbs = [words[1] for words in calls(fake)]
    assert verbs.count("create") == 2 and verbs.count("scp") == 2 and verbs.count("delete") == 1
    assert "SubState=exited" in done.stdout


def test_training_that_failed_is_stopped_everywhere_and_not_repeated(fake):
    done = tpu_vm(fake, "keep", *COMMAND, FAKE_END="failed")
    assert done.returncode == 70
    assert "SubState=failed" in done.stdout and (fake / "stopped").exists()
