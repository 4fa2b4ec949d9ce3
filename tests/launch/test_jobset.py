"""launch/jobset.sh prints a JobSet that fits the API's models, and whose restart policy is that of retry.sh."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from avc_jax.parallel import init

ROOT = Path(__file__).resolve().parents[2]
COMMAND = ("python", "-m", "avc_jax.main", '--config.system.note=a "quoted" \\ word', "--workdir=/shared/runs/x")


def render(*command: str, **settings: str) -> dict:
    done = subprocess.run(["launch/jobset.sh", *command], cwd=ROOT, env=os.environ | settings, capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)


@pytest.mark.parametrize("settings", [
    {},
    {"SLICES": "2", "MACHINES": "64", "LABELS": "cloud.google.com/gke-tpu-topology: 16x16, cloud.google.com/gke-spot: 'true'"},
    {"LABELS": "cloud.google.com/gke-accelerator: nvidia-h100-80gb", "DEVICES": "nvidia.com/gpu: 8", "IMAGE": "avc@sha256:0"},
])
def test_the_models_of_the_api_take_it_and_know_every_field(settings):
    # Models that Kubeflow generates from JobSet's and Kubernetes' published API; they drop fields that they do not know.
    from kubeflow_trainer_api.models import JobsetV1alpha2JobSet

    rendered = render(*COMMAND, **settings)
    assert JobsetV1alpha2JobSet.from_dict(rendered).to_dict() == rendered


def test_what_the_models_leave_open():
    # Words that the API's own validation restricts (its custom resource definition, v1alpha2), as far as we use them.
    spec = render(*COMMAND)["spec"]
    (rule,) = spec["failurePolicy"]["rules"]
    assert rule["action"] in ("FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts")
    assert set(rule["onJobFailureReasons"]) <= {"BackoffLimitExceeded", "DeadlineExceeded", "PodFailurePolicy"}
    job = spec["replicatedJobs"][0]["template"]["spec"]
    assert job["completionMode"] == "Indexed" and job["template"]["spec"]["restartPolicy"] == "Never"
    (rule,) = job["podFailurePolicy"]["rules"]
    assert (rule["action"], rule["onExitCodes"]["operator"]) == ("FailJob", "In")
    names = [container["name"] for container in job["template"]["spec"]["containers"]]
    assert rule["onExitCodes"]["containerName"] in names
    # 1 to 255 codes, in order, without 0.
    codes = rule["onExitCodes"]["values"]
    assert codes == sorted(set(codes)) and 0 < len(codes) < 256 and 0 not in codes


def test_exit_codes_that_need_a_person_fail_it_and_no_others():
    job = render(*COMMAND)["spec"]["replicatedJobs"][0]["template"]["spec"]
    final = job["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"]
    codes = " ".join(map(str, (*final, 75, 134, 137, 139, 143)))
    script = f". launch/retry.sh; for code in {codes}; do worth_retrying $code 0 || echo $code; done"
    assert subprocess.check_output(["bash", "-c", script], cwd=ROOT, text=True).split() == [str(code) for code in final]
    assert {64, 65, 66, 70, 74} <= set(final)
    assert job["backoffLimit"] == 0  # so that any other end fails the job for another reason, which restarts the set


def test_the_command_arrives_as_it_was_given_and_sizes_agree():
    spec = render(*COMMAND, SLICES="3", MACHINES="16", MAX_RESTARTS="7")["spec"]
    assert spec["failurePolicy"]["maxRestarts"] == 7
    (slices,) = spec["replicatedJobs"]
    job = slices["template"]["spec"]
    assert (slices["replicas"], job["parallelism"], job["completions"]) == (3, 16, 16)
    assert tuple(job["template"]["spec"]["containers"][0]["args"]) == COMMAND


def test_every_pod_finds_its_place():
    spec = render(*COMMAND, SLICES="2", MACHINES="3", NAME="run")["spec"]
    variables = spec["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]["containers"][0]["env"]
    given = {variable["name"]: variable["value"] for variable in variables if "value" in variable}
    pods = [{"JOB_INDEX": str(job), "JOB_COMPLETION_INDEX": str(pod)} for job in range(2) for pod in range(3)]
    places = [init.find(given | pod) for pod in pods]
    assert [place.process for place in places] == list(range(6))
    # The name that JobSet gives to the first pod of the first job.
    assert {(place.count, place.coordinator.split(":")[0]) for place in places} == {(6, "run-slice-0-0.run")}
