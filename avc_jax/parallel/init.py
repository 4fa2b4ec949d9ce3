"""Finds the processes of a run, calls the roll, and starts JAX in all of them."""

import dataclasses
import glob
import importlib.util
import os
import re
import socket
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import NoReturn

from avc_jax import __version__, errors, stderr
from avc_jax import config as configs
from avc_jax.parallel import line
from avc_jax.parallel.peers import Peers

Environment = Mapping[str, str]

_PORT = 8482  # where nothing says another; JAX's own on TPUs
_FIRST_PORT, _PORTS = 61440, 4096  # of Slurm jobs: above those that Linux gives away
_METADATA = "http://{host}/computeMetadata/v1/instance/attributes/{name}"


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a process stands among all.

    Attributes:
      found_by: what says so.
      process, count: its number, and how many there are.
      coordinator: HOST:PORT of process 0; empty if nobody has said it.
      local: its number among the processes that share the GPUs of its machine, and how many these are.
    """

    found_by: str
    process: int = 0
    count: int = 1
    coordinator: str = ""
    local: tuple[int, int] = (0, 1)


ALONE = Place("nothing")

_peers = Peers()  # of this process, once they are there


def find(environment: Environment, *, coordinator: str = "", process: int = -1, count: int = 0) -> Place:
    """The place of this process: by flags; else by the variables of JobSet, Slurm or MPI; else by what is known of a TPU.

    Args:
      environment: variables.
      coordinator: a flag, HOST:PORT; it may be given alone, as JAX_COORDINATOR_ADDRESS may, where the rest is found.
      process, count: flags, both or none.

    Raises:
      ConfigError: what was found is contradictory or not enough.
    """
    if (process >= 0) != (count > 0):
        raise errors.ConfigError(f"Found --process={process} and --num_processes={count}, expected both of them or neither.")
    if count:
        place = Place("flags", process, count)
    else:
        place = _jobset(environment) or _slurm_or_mpi(environment) or _tpu(environment) or ALONE
    if place.count == 1:
        return ALONE
    coordinator = coordinator or environment.get("JAX_COORDINATOR_ADDRESS", "") or place.coordinator
    if not 0 <= place.process < place.count:
        raise errors.ConfigError(f"Found process {place.process} of {place.count} by {place.found_by}, expected a number from 0.")
    if not coordinator:
        raise errors.ConfigError(f"Found process {place.process} of {place.count} by {place.found_by}, but not where process 0 "
                                 "is: name it by --coordinator=HOST:PORT, the same for all.")
    line.split_address(coordinator)
    return dataclasses.replace(place, coordinator=coordinator)


def _jobset(environment: Environment) -> Place | None:
    """The variables that a JobSet's template sets: see launch/."""
    names = ("JOBSET_NAME", "REPLICATED_JOB_NAME", "PODS_PER_JOB", "JOB_COMPLETION_INDEX")
    if not all(environment.get(name) for name in names):
        return None
    jobset, job, pods, index = (environment[name] for name in names)
    jobs, number = (_number(environment, name, default) for name, default in (("NUM_JOBS", 1), ("JOB_INDEX", 0)))
    return Place("JobSet", number * int(pods) + int(index), jobs * int(pods), f"{jobset}-{job}-0-0.{jobset}:{_PORT}")


def _slurm_or_mpi(environment: Environment) -> Place | None:
    slurm, mpi = _slurm(environment), _mpi(environment)
    if slurm and mpi and mpi.count != slurm.count:
        # Slurm counts mpirun's helpers, one on each node, and knows where the first is.
        return dataclasses.replace(mpi, coordinator=mpi.coordinator or slurm.coordinator)
    return slurm or mpi


def _slurm(environment: Environment) -> Place | None:
    """Of a step that srun has started; the batch script itself is none."""
    if not all(name in environment for name in ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_PROCID")):
        return None
    count = _number(environment, "SLURM_STEP_NUM_TASKS", _number(environment, "SLURM_NTASKS", 1))
    # Of names such as gpu[03-07,12],big1 the first.
    first = re.sub(r"\[(\w+)[^\]]*\]", r"\1", environment["SLURM_STEP_NODELIST"]).split(",")[0]
    job = _number(environment, "SLURM_JOB_ID", 0) + _number(environment, "SLURM_STEP_ID", 0)
    own = _tasks_here(environment)
    handed_out = "SLURM_GPUS_PER_TASK" in environment
    return Place("Slurm", _number(environment, "SLURM_PROCID", 0), count, f"{first}:{_FIRST_PORT + job % _PORTS}",
                 (0, 1) if handed_out else (_number(environment, "SLURM_LOCALID", 0), own))


def _tasks_here(environment: Environment) -> int:
    """The tasks of the step on this node, from a list such as 2(x3),1."""
    counts: list[int] = []
    for tasks, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", environment.get("SLURM_STEP_TASKS_PER_NODE", "")):
        counts += [int(tasks)] * int(times or 1)
    node = _number(environment, "SLURM_NODEID", 0)
    return counts[node] if node < len(counts) else 1


def _mpi(environment: Environment) -> Place | None:
    """The variables of Open MPI, or those of MPICH and its kin."""
    for rank, size, local_rank, local_size in (
            ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"),
            ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS")):
        if rank in environment and size in environment:
            local = _number(environment, local_rank, 0), _number(environment, local_size, 1)
            process, count = _number(environment, rank, 0), _number(environment, size, 1)
            return Place("MPI", process, count, f"127.0.0.1:{_PORT}" if count == local[1] else "", local)
    return None


def _tpu(environment: Environment) -> Place | None:
    """What GKE says in variables, and the metadata server of a TPU VM to whom asks."""
    hosts, ask = environment.get("TPU_PROCESS_ADDRESSES") or environment.get("TPU_WORKER_HOSTNAMES"), environment.get
    if hosts:
        worker = _number(environment, "TPU_WORKER_ID", 0)
    elif "TPU_SKIP_MDS_QUERY" not in environment and ("GCE_METADATA_IP" in environment or _has_tpu()):
        endpoints = _metadata(environment, "worker-network-endpoints")
        if not endpoints:
            return None
        # Either names, or name:number:address.
        hosts = ",".join(part.split(":")[-1] for part in endpoints.split(","))
        worker = int(_metadata(environment, "agent-worker-number") or 0)
        ask = dict(re.findall(r"^\s*(\w+):\s*'?([^'\n]*)'?\s*$", _metadata(environment, "tpu-env"), re.M)).get
    else:
        return None
    own = [host.split(":")[0] for host in hosts.split(",")]
    slices, number = int(ask("MEGASCALE_NUM_SLICES") or 1), int(ask("MEGASCALE_SLICE_ID") or 0)
    first = (ask("MEGASCALE_COORDINATOR_ADDRESS") or own[0]).split(":")[0]
    return Place("TPU", number * len(own) + worker, slices * len(own), f"{first}:{_PORT}")


def _has_tpu() -> bool:
    return importlib.util.find_spec("libtpu") is not None and bool(glob.glob("/dev/accel*") or glob.glob("/dev/vfio/[0-9]*"))


def _metadata(environment: Environment, name: str) -> str:
    """An attribute of this machine; empty if it has none."""
    url = _METADATA.format(host=environment.get("GCE_METADATA_IP", "metadata.google.internal"), name=name)
    request = urllib.request.Request(url, headers={"Metadata-Flavor": "Google"})
    # Not by a proxy: the server is the machine's own.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=5) as found:
            return found.read().decode()
    except (urllib.error.URLError, TimeoutError):
        return ""


def _number(environment: Environment, name: str, default: int) -> int:
    text = environment.get(name) or str(default)
    if not text.isdigit():
        raise errors.ConfigError(f"Found {name}={text!r} in the environment, expected a number.")
    return int(text)


def start(place: Place, config, guard) -> Peers:
    """Waits for all processes, and starts JAX in them. Before it, nothing may ask JAX for devices.

    Args:
      place: of this process.
      config: checked; it has to be the same in all.
      guard: entered; a signal ends the roll call, and later stops all processes together.

    Raises:
      LostError: some are missing.
      ConfigError: some were started by another command, or with the same number.
      Stopped: a signal came.
    """
    if place.count == 1:
        return Peers()
    stderr.say(f"Process {place.process} of {place.count}, found by {place.found_by}; process 0 is at {place.coordinator}.")
    host, port = line.split_address(place.coordinator)
    hello = {"process": place.process, "host": socket.gethostname(), "--num_processes": place.count, "avc_jax": __version__,
             **_flat(config)}
    limit_s, on_wait = config.processes.roll_call_s, guard.raise_if_stopped
    opened = (line.answer(host, port, hello, limit_s, on_wait) if place.process
              else line.gather(host, port, place.count, hello, limit_s, on_wait))
    _start_jax(place, host, port, config)
    global _peers
    _peers = Peers(place.process, place.count, opened)
    guard.join(_peers)
    return _peers


def end(code: int) -> NoReturn:
    """Ends this process with an exit code; see `Peers.exit`."""
    _peers.exit(code)


def _flat(config) -> dict[str, object]:
    """Every key of a config; but where data lie may differ from machine to machine."""
    return {f"config.{section}.{name}": value for section, keys in configs.to_dict(config).items()
            for name, value in keys.items() if (section, name) != ("data", "root")}


def _start_jax(place: Place, host: str, port: int, config) -> None:
    import jax

    # Its notice of SIGTERM would take the signal from the guard.
    jax.config.update("jax_enable_preemption_service", False)
    # A proxy is for what lies outside.
    jax.config.update("jax_check_proxy_envs", False)
    os.environ.setdefault("no_grpc_proxy", host)
    bind = line.bind_host(host)
    jax.distributed.initialize(
        f"{host}:{port}" if ":" not in host else f"[{host}]:{port}", place.count, place.process,
        local_device_ids=share_of_gpus(place.local, os.environ), cluster_detection_method="deactivate",
        initialization_timeout=config.processes.roll_call_s, heartbeat_timeout_seconds=config.processes.heartbeat_s,
        coordinator_bind_address=f"{bind}:{port}" if bind else None)


def share_of_gpus(local: tuple[int, int], environment: Environment) -> list[int] | None:
    """Which of the GPUs that a process sees are its own; None: all, as where each was given its own.

    Args:
      local: see `Place`.
      environment: variables.
    """
    number, count = local
    visible = environment.get("CUDA_VISIBLE_DEVICES")  # empty: none, as somebody wants it
    seen = glob.glob("/dev/nvidia[0-9]*") if visible is None else [gpu for gpu in visible.split(",") if gpu]
    share = len(seen) // count
    return None if count == 1 or share == 0 else list(range(number * share, (number + 1) * share))
