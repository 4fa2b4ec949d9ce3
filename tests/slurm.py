"""A real Slurm of two nodes on this machine: its daemons run as children of the tests, with all their files in one folder."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DAEMONS = ("munged", "slurmctld", "slurmd")
# The first node is where the processes meet, so its name has to be one that is found; and Slurm sorts them by their names.
NODES = (socket.gethostname(), socket.gethostname() + "x")


def missing() -> str:
    """Why there can be no Slurm here; empty if there can."""
    absent = [name for name in DAEMONS if shutil.which(name, path=_PATH) is None]
    if absent:
        return f"no {', '.join(absent)} on this machine: apt-get install slurm-wlm munge"
    return "" if os.geteuid() == 0 else "Slurm's daemons need root"


_PATH = f"{os.environ['PATH']}:/usr/sbin"


class Cluster:
    """What tests ask of Slurm."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))}
        self.environment |= {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": _PATH}

    def ask(self, *command: str) -> str:
        """Runs one of Slurm's commands and returns what it prints."""
        done = subprocess.run(command, env=self.environment, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout.strip()

    def submit(self, log: Path, *command: str, **environment: str) -> str:
        """Submits a command through launch/slurm.sbatch; returns the number of the job."""
        exported = ",".join(["ALL", *(f"{name}={value}" for name, value in environment.items())])
        return self.ask("sbatch", "--parsable", f"--output={log}", f"--export={exported}", "--gpus-per-node=0", "--time=30",
                        "launch/slurm.sbatch", *command)

    def job(self, number: str) -> dict[str, str]:
        """What Slurm knows of a job, e.g. JobState, Restarts and ExitCode ("code:signal")."""
        words = self.ask("scontrol", "show", "job", "--oneliner", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait(self, number: str, until: Callable[[dict[str, str]], bool], limit_s: float) -> dict[str, str]:
        """Waits until a job is as `until` says; fails with the daemons' logs after limit_s."""
        end = time.monotonic() + limit_s
        while not until(job := self.job(number)):
            assert time.monotonic() < end, f"{job}\n{self.logs()}"
            time.sleep(0.2)
        return job

    def finish(self, number: str, limit_s: float = 120) -> dict[str, str]:
        """Waits until a job is over for good, however it ended."""
        over = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
        return self.wait(number, lambda job: job["JobState"] in over, limit_s)

    def logs(self) -> str:
        paths = sorted(self.folder.glob("*.log"))
        return "\n".join(f"{path.name}:\n{path.read_text(errors='replace')[-3000:]}" for path in paths)


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """Starts the daemons, yields the cluster once its nodes are idle, and ends them.

    Args:
      folder: empty, and open to everybody with all folders above it, as munge insists.
    """
    _write_settings(folder)
    running = Cluster(folder)
    commands = [["munged", "--foreground", *(f"--{name}={folder / name.removesuffix('-file')}" for name in
                                            ("key-file", "pid-file", "seed-file", "log-file")), f"--socket={folder / 'socket'}"],
                ["slurmctld", "-D", "-f", str(folder / "slurm.conf")],
                *(["slurmd", "-D", "-f", str(folder / "slurm.conf"), "-N", name] for name in NODES)]
    with contextlib.ExitStack() as stack:
        processes = []
        for number, command in enumerate(commands):
            log = stack.enter_context(open(folder / f"{number}-{command[0]}.log", "w"))
            processes.append(subprocess.Popen(command, env=running.environment, stdout=log, stderr=subprocess.STDOUT))
            stack.callback(_end, processes[-1])
        end = time.monotonic() + 60
        while _states(running) != ["idle"] * len(NODES):
            assert time.monotonic() < end and all(process.poll() is None for process in processes), running.logs()
            time.sleep(0.2)
        yield running
        running.ask("scancel", "--user=root")


def _states(running: Cluster) -> list[str]:
    command = ["sinfo", "--noheader", "--Node", "--format=%T"]
    asked = subprocess.run(command, env=running.environment, capture_output=True, text=True)
    return asked.stdout.split()


def _end(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _write_settings(folder: Path) -> None:
    (folder / "key").write_bytes(os.urandom(1024))
    (folder / "key").chmod(0o400)
    (folder / "state").mkdir()
    ports = _free_ports(1 + len(NODES))
    settings = {
        "ClusterName": "test",
        "SlurmctldHost": f"{NODES[0]}(127.0.0.1)",
        "SlurmctldPort": ports[0],
        "SlurmctldPidFile": folder / "slurmctld.pid",
        "StateSaveLocation": folder / "state",
        "SlurmdPidFile": f"{folder}/slurmd.%n.pid",
        "SlurmdSpoolDir": f"{folder}/spool.%n",
        "SlurmUser": "root",
        "AuthType": "auth/munge",
        # A job that is queued again waits for cred_expire seconds, two minutes if nothing is said.
        "AuthInfo": f"socket={folder / 'socket'},cred_expire=5",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "JobAcctGatherType": "jobacct_gather/none",
        "KillWait": 10,
        "SchedulerParameters": "sched_interval=1,bf_interval=1",
    }
    lines = [f"{name}={value}" for name, value in settings.items()]
    lines.append(f"NodeName={','.join(NODES)} NodeHostname={NODES[0]} NodeAddr=127.0.0.1 CPUs=1 "
                 f"Port=[{','.join(map(str, ports[1:]))}]")
    lines.append("PartitionName=test Nodes=ALL Default=YES State=UP")
    (folder / "slurm.conf").write_text("\n".join(lines) + "\n")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
