"""The network learns from real videos what there is to learn, and nothing where there is nothing."""

import jax
import numpy as np
import pytest

from avc_jax import config as configs
from avc_jax import systems
from avc_jax.data import plan, quarantine, sources, visit
from avc_jax.train import optimizer, state, step

pytestmark = pytest.mark.slow

CLIPS, MOMENTS = 16, 32


@pytest.fixture(scope="module")
def true_pairs(shared, tmp_path_factory):
    """Pairs of 32 moments of each of sixteen real clips, of several containers and codecs."""
    folder = shared / "data" / "clips"
    found = sorted(path for path in folder.rglob("*") if path.suffix in (".mp4", ".mkv", ".webm", ".avi"))
    manifest = tmp_path_factory.mktemp("sixteen") / "manifest.csv"
    rows = [f"{path.relative_to(folder)},0,2.5" for path in found[:: len(found) // CLIPS][:CLIPS]]
    manifest.write_text("\n".join(["path,start_s,end_s", *rows]))
    source = sources.open_folder(str(folder), str(manifest), (0.8, 0.1, 0.1))
    reader = visit.Reader(source, plan.Plan(CLIPS, seed=0, batch_size=CLIPS, pairs_per_visit=MOMENTS),
                          visit.Format(short_side=64, size=64, window_s=1.0, rate_hz=16000),
                          quarantine.Quarantine(None, CLIPS, budget=0.0), pairing="shared")
    return [reader.train(number) for number in range(CLIPS)]


def train(pairing: str, draw_batch, steps: int) -> np.ndarray:
    """f64[steps]: the training accuracy of each step of a quarter-width network on the batches drawn."""
    config = configs.default("l3net")
    config.system.update(width=0.25, conv1_stride=2, batch_norm_momentum=0.9)
    config.data.update(frame_size=64, frame_short_side=64, pairing=pairing)
    config.audio.rate_hz = 16000
    config.augment.update(flip=False, brightness=0.0, saturation=(1.0, 1.0), gain=(1.0, 1.0))
    config.optimizer.lr = 1e-3
    configs.check(config)
    system, rule, rng = systems.make(config), optimizer.make_optimizer(config), np.random.default_rng(0)
    current, run_step = state.init_state(system, rule, 0, ema=False), jax.jit(step.make_step(system, rule, seed=0))
    accuracy = []
    for _ in range(steps):
        batch = draw_batch(rng)
        current, metrics = run_step(current, {name: batch[name] for name in system.features})
        accuracy.append(float(metrics["accuracy"][0] / metrics["accuracy"][1]))
    return np.array(accuracy)


def rows(pairs, clips, moments) -> dict[str, np.ndarray]:
    return {name: np.stack([pairs[clip][name][moment] for clip, moment in zip(clips, moments, strict=True)])
            for name in ("frame", "waveform", "label", "file")}


def test_sixteen_real_clips_are_fitted(true_pairs):
    accuracy = train("shared", lambda rng: rows(true_pairs, rng.permutation(CLIPS), rng.integers(MOMENTS, size=CLIPS)), 320)
    assert accuracy[-50:].mean() > 0.95


def test_a_network_whose_sound_is_silenced_stays_at_chance(true_pairs):
    def silenced(rng):
        clips, label = rng.permutation(CLIPS), rng.integers(2, size=CLIPS)
        batch = rows(true_pairs, clips, rng.integers(MOMENTS, size=CLIPS))
        return batch | {"label": label.astype(np.int32), "waveform": np.zeros_like(batch["waveform"])}

    # The last 75 steps hold 1,200 coin flips: chance is 0.5 with a standard deviation of 0.014.
    assert abs(train("independent", silenced, 100)[-75:].mean() - 0.5) < 0.06
