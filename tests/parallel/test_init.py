"""Which process of how many this is, from flags, variables and metadata as schedulers write them."""

import http.server
import threading

import pytest

from avc_jax import errors
from avc_jax.parallel.init import ALONE, Place, find, share_of_gpus

JOBSET = dict(JOBSET_NAME="avc", REPLICATED_JOB_NAME="slice", PODS_PER_JOB="4", NUM_JOBS="2", JOB_INDEX="1",
              JOB_COMPLETION_INDEX="3")
SLURM = dict(SLURM_JOB_ID="5000", SLURM_STEP_ID="2", SLURM_STEP_NODELIST="gpu[03-07,12],big1", SLURM_STEP_NUM_TASKS="14",
             SLURM_PROCID="9", SLURM_LOCALID="1", SLURM_NODEID="4", SLURM_STEP_TASKS_PER_NODE="2(x6),2", SLURM_NTASKS="14")
OPEN_MPI = dict(OMPI_COMM_WORLD_RANK="5", OMPI_COMM_WORLD_SIZE="8", OMPI_COMM_WORLD_LOCAL_RANK="1",
                OMPI_COMM_WORLD_LOCAL_SIZE="4")
GKE = dict(TPU_WORKER_HOSTNAMES="w-0.avc,w-1.avc", TPU_WORKER_ID="1")


def test_a_process_is_alone_where_nothing_says_otherwise():
    assert find({}) == ALONE
    assert find({"JOB_COMPLETION_INDEX": "3", "SLURM_JOB_ID": "1", "SLURM_PROCID": "0", "SLURM_NTASKS": "4"}) == ALONE


@pytest.mark.parametrize(("environment", "place"), [
    (JOBSET, Place("JobSet", 7, 8, "avc-slice-0-0.avc:8482")),
    (SLURM, Place("Slurm", 9, 14, "gpu03:62346", (1, 2))),
    (SLURM | {"SLURM_STEP_NODELIST": "n1"}, Place("Slurm", 9, 14, "n1:62346", (1, 2))),
    (SLURM | {"SLURM_STEP_NODELIST": "rack[1-2]node[3-4],x"}, Place("Slurm", 9, 14, "rack1node3:62346", (1, 2))),
    (SLURM | {"SLURM_GPUS_PER_TASK": "1"}, Place("Slurm", 9, 14, "gpu03:62346", (0, 1))),
    (SLURM | {"PMI_RANK": "9", "PMI_SIZE": "14"}, Place("Slurm", 9, 14, "gpu03:62346", (1, 2))),
    # mpirun inside of Slurm, which has started one of its helpers on each of two nodes.
    (SLURM | OPEN_MPI | {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"}, Place("MPI", 5, 8, "gpu03:62346", (1, 4))),
    (OPEN_MPI | {"OMPI_COMM_WORLD_LOCAL_SIZE": "8"}, Place("MPI", 5, 8, "127.0.0.1:8482", (1, 8))),
    (dict(PMI_RANK="1", PMI_SIZE="2", MPI_LOCALNRANKS="2", MPI_LOCALRANKID="1"), Place("MPI", 1, 2, "127.0.0.1:8482", (1, 2))),
    (GKE, Place("TPU", 1, 2, "w-0.avc:8482")),
    (GKE | dict(MEGASCALE_NUM_SLICES="3", MEGASCALE_SLICE_ID="2", MEGASCALE_COORDINATOR_ADDRESS="w-0-0.avc:8080"),
     Place("TPU", 5, 6, "w-0-0.avc:8482")),
    (dict(TPU_PROCESS_ADDRESSES="10.0.0.1:8476,10.0.0.2:8476", TPU_WORKER_ID="0"), Place("TPU", 0, 2, "10.0.0.1:8482")),
    (dict(TPU_WORKER_HOSTNAMES="localhost", TPU_WORKER_ID="0"), ALONE),
])
def test_schedulers_are_recognised_by_their_variables(environment, place):
    assert find(environment) == place


def test_what_is_more_explicit_wins():
    everything = JOBSET | SLURM | GKE | OPEN_MPI
    assert find(everything, coordinator="a:1", process=0, count=2) == Place("flags", 0, 2, "a:1")
    assert find(everything).found_by == "JobSet"
    assert find(SLURM | GKE).found_by == "Slurm"
    assert find(everything, count=1, process=0) == ALONE


@pytest.mark.parametrize(("flags", "environment"), [(dict(coordinator="h:7"), {}), ({}, {"JAX_COORDINATOR_ADDRESS": "h:7"})])
def test_a_coordinator_alone_replaces_the_one_that_was_found(flags, environment):
    assert find(SLURM | environment, **flags).coordinator == "h:7"
    assert find(OPEN_MPI | environment, **flags) == Place("MPI", 5, 8, "h:7", (1, 4))


@pytest.mark.parametrize(("environment", "flags", "said"), [
    ({}, dict(process=1), "both of them or neither"),
    ({}, dict(count=2), "both of them or neither"),
    ({}, dict(process=2, count=2, coordinator="h:1"), "process 2 of 2 by flags, expected a number from 0"),
    ({}, dict(process=1, count=2), "name it by --coordinator"),
    (OPEN_MPI, {}, "process 5 of 8 by MPI, but not where process 0 is"),
    (OPEN_MPI, dict(coordinator="host"), "expected HOST:PORT"),
    (OPEN_MPI, dict(coordinator="host:99999"), "expected HOST:PORT"),
    (SLURM | {"SLURM_PROCID": "x"}, {}, "SLURM_PROCID='x'"),
])
def test_what_is_not_enough_is_refused_with_what_is_missing(environment, flags, said):
    with pytest.raises(errors.ConfigError, match=said):
        find(environment, **flags)


@pytest.fixture
def metadata():
    """A server of a TPU VM's attributes, as a dict to fill, and the variables that lead to it."""
    attributes = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            found = attributes.get(self.path.rpartition("/")[2])
            known = found is not None and self.headers["Metadata-Flavor"] == "Google"
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write((found or "").encode() if known else b"")

        def log_message(self, *args):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield attributes, {"GCE_METADATA_IP": f"127.0.0.1:{server.server_port}"}
    server.shutdown()
    server.server_close()


def test_a_tpu_vm_asks_its_metadata(metadata):
    attributes, environment = metadata
    assert find(environment) == ALONE
    attributes |= {"worker-network-endpoints": "unknown:unknown:10.1.0.2,unknown:unknown:10.1.0.3", "agent-worker-number": "1",
                   "tpu-env": "ACCELERATOR_TYPE: 'v5litepod-8'\nZONE: 'x'\n"}
    assert find(environment) == Place("TPU", 1, 2, "10.1.0.2:8482")
    attributes["tpu-env"] += "MEGASCALE_NUM_SLICES: '2'\nMEGASCALE_SLICE_ID: '1'\nMEGASCALE_COORDINATOR_ADDRESS: '10.0.0.9'\n"
    assert find(environment) == Place("TPU", 3, 4, "10.0.0.9:8482")
    assert find(environment | {"TPU_SKIP_MDS_QUERY": "1"}) == ALONE


@pytest.mark.parametrize(("local", "visible", "share"), [
    ((0, 1), "0,1,2,3", None), ((1, 4), "0,1,2,3", [1]), ((1, 2), "0,1,2,3", [2, 3]), ((3, 4), "0", None),
    ((1, 3), "4,5,6,7", [1]), ((0, 2), "", None)])
def test_processes_of_a_machine_share_its_gpus(local, visible, share, monkeypatch):
    monkeypatch.setattr("glob.glob", lambda pattern: ["/dev/nvidia0", "/dev/nvidia1"])
    assert share_of_gpus(local, {"CUDA_VISIBLE_DEVICES": visible}) == share
