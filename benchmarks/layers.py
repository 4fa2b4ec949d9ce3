"""The parts of the L3-Net training step on a CPU, each alone: XLA's default choice of kernels beside that of avc_jax.

    python benchmarks/layers.py --batch=16

Rows: the forward pass and both gradients of every convolution of the vision trunk at stride 2, a batch's sums and the
gradient of a max-pool. Milliseconds, the best of the rounds; both choices take turns. Needs jax and flax.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import flax.linen as nn
import jax
import jax.numpy as jnp

from avc_jax.nn import pool
from avc_jax.train import step as steps

# Side of the input, channels in and out, stride.
LAYERS = ((224, 3, 64, 2), (112, 64, 64, 1), (56, 64, 128, 1), (56, 128, 128, 1),
          (28, 128, 256, 1), (28, 256, 256, 1), (14, 256, 512, 1), (14, 512, 512, 1))


def compare(default, ours, arguments, rounds: int) -> str:
    """Two table cells: milliseconds of a function under XLA's defaults, and of one under `steps.CPU_OPTIONS`."""
    compiled = [jax.jit(default), jax.jit(ours, compiler_options=steps.CPU_OPTIONS)]
    best = [float("inf")] * 2
    for turn in range(rounds + 1):
        for index, function in enumerate(compiled):
            began = time.perf_counter()
            jax.block_until_ready(function(*arguments))
            if turn:  # the first turn compiles
                best[index] = min(best[index], time.perf_counter() - began)
    return " | ".join(f"{1e3 * seconds:.0f}" for seconds in best)


def convolution_row(side: int, channels: int, out: int, stride: int, batch: int, rounds: int) -> str:
    x = jax.random.normal(jax.random.key(0), (batch, side, side, channels))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, channels, out))

    def forward(x, kernel, _):
        return jax.lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    def gradient(position: int):
        return lambda *args: jax.vjp(lambda x, kernel: forward(x, kernel, None), *args[:2])[1](args[2])[position]

    arguments = (x, kernel, jax.random.normal(jax.random.key(2), (batch, side // stride, side // stride, out)))
    cells = [compare(function, function, arguments, rounds) for function in (forward, gradient(0), gradient(1))]
    return f"| {side}x{side}x{channels} to {out} | " + " | ".join(cells) + " |"


def pool_gradient(function):
    return lambda x, grad: jax.vjp(function, x)[1](grad)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=4)
    args = parser.parse_args()

    print("| convolution | forward: default | ours | to input: default | ours | to kernel: default | ours |\n" + "|---" * 7 + "|")
    for layer in LAYERS:
        print(convolution_row(*layer, args.batch, args.rounds), flush=True)
    x = nn.relu(jax.random.normal(jax.random.key(0), (args.batch, 112, 112, 64)))
    print(f"\n| f32[{args.batch}, 112, 112, 64] | default | ours |\n|---|---|---|")
    moments = lambda x: (x.mean((0, 1, 2)), (x * x).mean((0, 1, 2)))  # noqa: E731
    print(f"| mean and mean square of each channel | {compare(moments, moments, (x,), args.rounds)} |")
    default, ours = pool_gradient(lambda x: nn.max_pool(x, (2, 2), (2, 2))), pool_gradient(pool.max_pool)
    print(f"| gradient of the 2x2 max-pool | {compare(default, ours, (x, jnp.ones_like(x[:, ::2, ::2])), args.rounds)} |")


if __name__ == "__main__":
    main()
