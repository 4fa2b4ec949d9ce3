"""The L3-Net training step: avc_jax beside the same network in PyTorch, eager and compiled, on a CPU or one GPU.

    python benchmarks/step.py --stride=2 --batch=16 --precision=float32

Needs jax, flax, optax and, for the peers, torch; nothing else. All contestants do the whole step on the same bytes: uint8
frames and int16 samples in; flip, colour, gain, log-spectrogram, forward, backward, L2 and Adam; full-size trunks, batch
normalisation over the batch. PyTorch is used as its own guides advise: channels_last, `torch.compile`, autocast for
bfloat16, fused Adam, `set_to_none`.
The contestants take turns, A B C A B C, so that a drifting machine slows all of them alike; a row gives the median of the rounds.
"""

import argparse
import json
import platform
import statistics
import sys
import time
import types
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import jax.numpy as jnp
import numpy as np

from avc_jax import schema, systems
from avc_jax.parallel import mesh as meshes
from avc_jax.train import optimizer as optimizers
from avc_jax.train import state as states
from avc_jax.train import step as steps

# Multiply-adds of both trunks for one pair, forward (docs: 10.26 + 10.21 G at stride 1, a quarter at stride 2).
GMAC = {1: 20.47, 2: 5.12}


def make_config(args, pairing: str):
    """The schema's defaults as plain namespaces, with this benchmark's choices."""
    config = types.SimpleNamespace(**{
        section: types.SimpleNamespace(**{name: key.default for name, key in keys.items()})
        for section, keys in schema.schema("l3net").items()})
    config.system.conv1_stride, config.system.width = args.stride, args.width
    config.train.batch_size, config.train.precision = args.batch, args.precision
    config.data.pairing = pairing
    return config


def make_batch(config, system) -> dict[str, np.ndarray]:
    """Random bytes in the shape of a batch; every row is of a file of its own."""
    rng, size = np.random.default_rng(0), config.train.batch_size
    batch = {name: rng.integers(-3000 if feature.dtype == "int16" else 0, 256, (size, *feature.shape)).astype(feature.dtype)
             for name, feature in system.features.items()}
    return batch | {"label": rng.integers(0, 2, size).astype(np.int32), "file": np.arange(size, dtype=np.int32)}


def jax_contestant(args, pairing: str):
    """A function that runs one avc_jax step to its end."""
    config = make_config(args, pairing)
    system, optimizer = systems.make(config), optimizers.make_optimizer(config)
    mesh, init = meshes.make_mesh(), lambda: states.init_state(system, optimizer, 0, ema=False)
    shardings = meshes.state_sharding(mesh, jax.eval_shape(init))
    state = jax.jit(init, out_shardings=shardings)()
    step = steps.jit_step(steps.make_step(system, optimizer, seed=0), mesh, shardings)
    batch = jax.device_put(make_batch(config, system), meshes.batch_sharding(mesh))

    def run() -> None:
        nonlocal state
        state, metrics = step(state, batch)
        jax.block_until_ready(metrics)

    return run


def torch_contestant(args, compiled: bool):
    """A function that runs one PyTorch step to its end."""
    from step_torch import make_step

    config = make_config(args, "independent")
    return make_step(make_batch(config, systems.make(config)), stride=args.stride, width=args.width,
                     precision=args.precision, compiled=compiled)


def matmul_peak(precision: str, size: int) -> float:
    """FLOP/s of a large square product in JAX, the yardstick for shares of the peak."""
    a = jax.random.normal(jax.random.key(0), (size, size), jnp.dtype(precision))
    product = jax.jit(lambda a: a @ a)
    product(a).block_until_ready()
    times = []
    for _ in range(5):
        began = time.perf_counter()
        product(a).block_until_ready()
        times.append(time.perf_counter() - began)
    return 2 * size**3 / min(times)


def measure(contestants: dict, rounds: int, steps_per_round: int) -> dict[str, float]:
    """Name -> median seconds per step; the contestants take turns."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for name, run in contestants.items():
        began = time.perf_counter()
        run()
        print(f"  {name}: first step (with compilation) {time.perf_counter() - began:.1f} s", flush=True)
        run()
    for _ in range(rounds):
        for name, run in contestants.items():
            began = time.perf_counter()
            for _ in range(steps_per_round):
                run()
            times[name].append((time.perf_counter() - began) / steps_per_round)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stride", type=int, choices=(1, 2), default=2)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1, help="steps per round")
    parser.add_argument("--without_torch", action="store_true")
    args = parser.parse_args()

    device = jax.devices()[0]
    peak = matmul_peak(args.precision, 8192 if device.platform == "gpu" else 2048)
    print(f"{time.strftime('%Y-%m-%d')}, {device.device_kind} ({platform.machine()}), jax {jax.__version__}, "
          f"stride {args.stride}, batch {args.batch}, {args.precision}, matmul peak {peak / 1e12:.2f} TFLOP/s")
    contestants = {"avc_jax independent": jax_contestant(args, "independent"), "avc_jax shared": jax_contestant(args, "shared")}
    if not args.without_torch:
        contestants["torch eager"] = torch_contestant(args, compiled=False)
        contestants["torch.compile"] = torch_contestant(args, compiled=True)
    seconds = measure(contestants, args.rounds, args.steps)
    best = seconds.get("torch.compile", seconds["avc_jax independent"]) / args.batch
    rows = []
    print("| | s/step | pairs/s | to torch.compile | share of peak |\n|---|---|---|---|---|")
    for name, value in seconds.items():
        pairs = args.batch * (2 if "shared" in name else 1)
        share = 6e9 * GMAC[args.stride] * args.width**2 * args.batch / value / peak
        rows.append({"name": name, "s_per_step": value, "pairs_per_s": pairs / value, "ratio": best * pairs / value,
                     "share": share})
        print(f"| {name} | {value:.3f} | {pairs / value:.2f} | {best * pairs / value:.2f} | {share:.2f} |")
    print(json.dumps({"device": device.device_kind, "precision": args.precision, "stride": args.stride, "rows": rows}))


if __name__ == "__main__":
    main()
