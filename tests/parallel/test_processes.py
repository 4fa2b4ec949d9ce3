"""Training in several real processes is the training of one: the same samples exactly, the same parameters but for rounding."""

import numpy as np
import pytest
from end_to_end.conftest import cache, videos  # noqa: F401, fixtures
from faults import process, several
from parallel import traced

from avc_jax import model

STEPS = 20
# Plain gradient descent in small steps: Adam makes as much of a gradient that is zero but for rounding as of any other, and with
# batch norms over eight rows, large steps make much of how the steps before were rounded.
ARGS = (*process.TRAIN, "--config.optimizer.name=sgd", "--config.optimizer.momentum=0", "--config.optimizer.lr=0.001",
        f"--config.train.checkpoint_every={STEPS}")


@pytest.fixture(scope="module")
def train(cache, videos, tmp_path_factory):  # noqa: F811
    """A function: (processes, devices of each, steps) ..., runs that resume one another -> parameters, and step -> samples."""
    done = {}

    def run(*parts: tuple[int, int, int]):
        if parts not in done:
            workdir, trace = tmp_path_factory.mktemp("run"), tmp_path_factory.mktemp("trace")
            for count, devices, steps in parts:
                several.run(cache, count, *ARGS, f"--workdir={workdir}", f"--config.data.root={videos}",
                            f"--config.train.steps={steps}", devices=devices, module="tests.parallel.traced",
                            environment={"TRACE": str(trace)})
            samples = traced.read(trace)
            done[parts] = model.load(workdir).variables["params"], {step: samples[step] for step in range(STEPS)}
        return done[parts]

    return run


def assert_same(found, wanted) -> None:
    import jax

    (params, samples), (wanted_params, wanted_samples) = found, wanted
    assert samples == wanted_samples
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), params, wanted_params)


@pytest.mark.slow
def test_a_run_of_two_processes_goes_on_in_one_and_then_in_four_as_if_in_one(train):
    assert_same(train((2, 2, 7), (1, 4, 14), (4, 1, STEPS)), train((1, 1, STEPS)))


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("devices", [1, 2, 4])
def test_any_number_of_processes_and_devices_is_one(train, count, devices, request):
    if not request.config.getoption("--draws", default=None):
        pytest.skip("a case of `make faults`")
    assert_same(train((count, devices, STEPS)), train((1, 1, STEPS)))
