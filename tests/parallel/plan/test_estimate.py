"""The plan of the paper's run, compiled for eight devices: what it says is what the network needs, and nothing else is sent."""

import jax
import pytest
import tiny

from avc_jax import errors
from avc_jax.parallel.plan import report, topology
from avc_jax.parallel.plan.collectives import Collective
from avc_jax.parallel.plan.estimate import BATCHES, estimate, seconds
from configs import flickr

# Multiply-adds of both trunks for one pair, forward, and what a training step makes of them: the gradients of inputs and of
# kernels cost the same again, but nobody asks for those of the first layers' inputs.
FORWARD = 20.47e9
PER_PAIR = 6 * FORWARD


def plan(config, name="h100:8x1"):
    where = topology.parse(name)
    return estimate(config, where, topology.devices(where))


@pytest.fixture(scope="module")
def paper():
    """configs/flickr.py with 16 pairs per device: each its own group of normalisation, as the paper's workers had it."""
    config = flickr.get_config()
    config.train.batch_size = 128
    return plan(config)


def sent(found):
    """Purpose -> bytes of a step."""
    total = {}
    for (purpose, *_), (_, size, _) in found.collectives.items():
        total[purpose] = total.get(purpose, 0) + size
    return total


@pytest.mark.slow
def test_the_only_collectives_are_gradients_statistics_and_metrics(paper):
    total = sent(paper)
    assert set(total) == {"gradients", "statistics", "metrics"}
    assert total["gradients"] == 4 * paper.parameters, "each gradient once"
    # Running means and variances of 16 layers of both trunks: 4 x 2 x (64 + 128 + 256 + 512) channels.
    assert total["statistics"] == 4 * 2 * 2 * 2 * (64 + 128 + 256 + 512)
    assert total["metrics"] < 100


@pytest.mark.slow
def test_work_is_that_of_the_hand_count(paper):
    per_pair = paper.flops * 8 / paper.pairs
    assert 0.95 < per_pair / PER_PAIR < 1.05


@pytest.mark.slow
def test_memory_is_that_of_the_arrays(paper):
    assert paper.memory["parameters"] == 4 * paper.parameters == 4 * 9_504_898
    assert paper.memory["optimiser"] == 2 * 4 * paper.parameters + 8
    row = 224 * 224 * 3 + 2 * 48000 + 4 + 4
    assert paper.row_bytes == row
    assert paper.memory["batches"] == BATCHES * 16 * row
    assert "padding" not in paper.memory
    assert paper.total == sum(paper.memory.values()) < 80e9
    assert paper.fits


@pytest.fixture(scope="module")
def small():
    """A function: changes of a small config -> its plan on eight devices."""
    done = {}

    def made(**changes):
        key = tuple(sorted(changes.items()))
        if key not in done:
            done[key] = plan(tiny.config(**{"train__batch_size": 16, **changes}))
        return done[key]

    return made


def test_pairs_formed_across_devices_show_up_as_activations(small):
    """Else the test above would prove nothing."""
    assert "activations" not in sent(small())
    assert sent(small(data__pairing="shared"))["activations"] > 0


def test_fsdp_gathers_parameters_and_divides_the_state(small):
    whole, split = small(), small(mesh__fsdp=8)
    assert sent(split)["parameters"] > 0
    assert split.memory["parameters"] < whole.memory["parameters"] / 3
    assert split.memory["optimiser"] < whole.memory["optimiser"] / 3


def test_pieces_count_as_often_as_they_run(small):
    once, pieces = (small(train__batch_size=64, train__accumulate=count) for count in (1, 2))
    # Adam is counted twice, and one turn of a CPU's loop over the sounds of each piece.
    assert pieces.flops == pytest.approx(once.flops, rel=0.1)


def test_what_does_not_fit_the_devices_is_refused():
    with pytest.raises(errors.ConfigError, match=r"config.train.batch_size: found 12"):
        plan(tiny.config(train__batch_size=12))
    with pytest.raises(errors.ConfigError, match=r"config.mesh"):
        plan(tiny.config(mesh__fsdp=3))


def test_what_training_on_so_many_hosts_refuses_is_refused():
    with pytest.raises(errors.ConfigError, match=r"expected a multiple of 16 \(config.data.pairs_per_visit x processes\)"):
        plan(tiny.config(train__batch_size=8, data__pairs_per_visit=8), "h100:4x2")
    with pytest.raises(errors.ConfigError, match=r"config.mesh.tensor: found 8, expected a divisor of the 4 devices"):
        plan(tiny.config(train__batch_size=16, mesh__tensor=8), "h100:4x2")


def test_all_to_all_sends_each_chip_its_own():
    where = topology.parse("h100:8x4")
    one = Collective("all-to-all", ((8,),), 32_000_000, 32, 4, 1, ("",))
    assert seconds(one, where) == pytest.approx(7e6 / 450e9 + 24e6 / 50e9)
    gathered = one._replace(kind="all-gather")
    assert seconds(gathered, where) == pytest.approx(28e6 / 450e9 + 3e6 / 50e9)
    assert seconds(one._replace(islands=1), where) == pytest.approx(31e6 / 450e9)


def test_time_is_work_over_rates_and_cost_is_time_over_price(small):
    found, chip = small(), topology.parse("h100:8x1").chip
    assert found.compute_s == found.flops / 494.7e12
    assert found.memory_s == found.bytes / (chip.memory_gb_per_s * 1e9)
    assert found.step_s == (max(found.compute_s, found.memory_s, found.network_s),
                            found.compute_s + found.memory_s + found.network_s)
    text = report.full(found, steps=3_600_000, pairs_per_visit=4, price=report.Price(2.5, "2026-11-01"))
    hours = 1000 * found.step_s[1]
    assert f"{8 * hours:,.1f} chip-hours" in text
    assert f"{2.5 * 8 * hours:,.2f} at 2.5 per chip-hour, the price of 2026-11-01" in text
    assert "give the price" in report.full(found, steps=1, pairs_per_visit=1, price=None)


def test_programs_of_other_devices_leave_this_machines_alone(small):
    small()
    assert all(device.platform == "cpu" for device in jax.devices())
