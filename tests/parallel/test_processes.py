"""Training in several real processes is the training of one: the same samples exactly, the same parameters but for rounding."""

import media
import numpy as np
import pytest
from end_to_end.conftest import cache  # noqa: F401, fixture
from faults import process, several
from parallel import traced

from avc_jax import model

STEPS = 20
# Plain gradient descent in small steps: Adam makes as much of a gradient that is zero but for rounding as of any other, and with
# batch norms over eight rows, large steps make much of how the steps before were rounded.
ARGS = (*process.TRAIN, "--config.optimizer.name=sgd", "--config.optimizer.momentum=0", "--config.optimizer.lr=0.0001",
        f"--config.train.checkpoint_every={STEPS}")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Twelve videos of noise over coloured blocks. In flat pictures neighbours are equal but for rounding, which then decides
    whose gradient a maximum passes on: after 20 steps parameters differed by 0.008 between one device and two of a process."""
    folder, (width, height), rate_hz, times_s = tmp_path_factory.mktemp("noise"), (64, 48), 16000, np.arange(62) / 25
    for number in range(12):
        rng = np.random.default_rng(number)
        blocks = np.kron(rng.integers(40, 216, (6, 8, 3)), np.ones((8, 8, 1), int))
        pictures = ((blocks + rng.integers(-40, 40, (height, width, 3))).astype(np.uint8) for _ in times_s)
        media.write(folder / f"{number:02d}.mp4", pictures=pictures, times_s=times_s.tolist(), size=(width, height),
                    sound=0.2 * rng.standard_normal(round(2.5 * rate_hz)), rate_hz=rate_hz)
    return folder


@pytest.fixture(scope="module")
def train(cache, videos, tmp_path_factory):  # noqa: F811
    """A function: (processes, devices of each, steps) ..., runs that resume one another -> parameters, and step -> samples."""
    done = {}

    def run(*parts: tuple[int, int, int], batch: int = 8):
        if (parts, batch) not in done:
            workdir, trace = tmp_path_factory.mktemp("run"), tmp_path_factory.mktemp("trace")
            for count, devices, steps in parts:
                several.run(cache, count, *ARGS, f"--workdir={workdir}", f"--config.data.root={videos}",
                            f"--config.train.steps={steps}", f"--config.train.batch_size={batch}", devices=devices,
                            module="tests.parallel.traced", environment={"TRACE": str(trace)})
            samples = traced.read(trace)
            done[parts, batch] = model.load(workdir).variables["params"], {step: samples[step] for step in range(STEPS)}
        return done[parts, batch]

    return run


def assert_same(found, wanted) -> None:
    import jax

    (params, samples), (wanted_params, wanted_samples) = found, wanted
    assert samples == wanted_samples
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5), params, wanted_params)


@pytest.mark.slow
def test_a_run_of_two_processes_goes_on_in_one_and_then_in_four_as_if_in_one(train):
    assert_same(train((2, 2, 7), (1, 4, 14), (4, 1, STEPS)), train((1, 1, STEPS)))


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("devices", [1, 2, 4])
def test_any_number_of_processes_and_devices_is_one(train, count, devices, request):
    if not request.config.getoption("--draws", default=None):
        pytest.skip("a case of `make faults`")
    assert_same(train((count, devices, STEPS), batch=16), train((1, 1, STEPS), batch=16))
