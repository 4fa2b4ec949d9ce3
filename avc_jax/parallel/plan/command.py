"""`--mode=plan`: its flags, and what it prints."""

import re

from absl import flags

from avc_jax import errors

_TOPOLOGY = flags.DEFINE_string("topology", "", "mode=plan: accelerators to plan for: v5e:16x16, v5p:4x4x8, v6e:8x8, v6e:16x16:2 "
                                "(two slices), h100:8x4 (four nodes of eight GPUs), h200:8x1.")
_SWEEP = flags.DEFINE_bool("sweep", False, "mode=plan: try meshes and batches, and plan with the fastest that fit.")
_PRICE = flags.DEFINE_string("price", "", "mode=plan: price of a chip-hour and the day it was read on, such as 1.20@2026-11-21.")


def run(config) -> None:
    """Prints the plan of a checked config; needs neither data nor accelerators.

    Raises:
      ConfigError: a flag is missing or wrong, the compiler for the chips is not installed, or the config does not fit their
        number.
    """
    price = _price(_PRICE.value)
    import jax

    from avc_jax.parallel.plan import report, topology
    from avc_jax.parallel.plan.estimate import DoesNotFitError, estimate
    from avc_jax.parallel.plan.sweep import sweep

    where = topology.parse(_TOPOLOGY.value)
    jax.config.update("jax_platforms", "cpu")  # whatever accelerators this machine has are left alone
    devices = topology.devices(where)
    steps = config.train.steps
    if _SWEEP.value:
        found = sweep(config, where, devices, lambda line: print(line, flush=True))
        if found is None:
            print(f"\n{where.name}: none of these fits. Try a smaller config.train.batch_size, config.train.accumulate, or "
                  "config.train.remat=true.")
            return
        steps = -(-steps * config.train.batch_size // found.batch)
        print(f"\nThe fastest that fits, where nothing overlaps: --config.train.batch_size={found.batch} "
              f"--config.mesh.fsdp={found.mesh['fsdp']} --config.mesh.tensor={found.mesh['tensor']}, and as many pairs in all, "
              f"--config.train.steps={steps}. Another batch learns differently.\n")
    else:
        try:
            found = estimate(config, where, devices)
        except DoesNotFitError as error:
            print(f"{where.name}: DOES NOT FIT: a chip {error}. Try a smaller config.train.batch_size, config.train.accumulate, "
                  "config.train.remat=true, config.mesh.fsdp, or --sweep.")
            return
    print(report.full(found, steps, config.data.pairs_per_visit, price and report.Price(*price)))


def _price(text: str) -> tuple[float, str] | None:
    if not text:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)@(\d{4}-\d{2}-\d{2})", text)
    if match is None:
        raise errors.ConfigError(f"--price={text}: expected PRICE@DAY, such as 1.20@2026-11-21.")
    return float(match[1]), match[2]
