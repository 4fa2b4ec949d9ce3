"""The check of records by avc_jax.prepare --verify, which reads whole shards with ArrayRecord's reader: no damage escapes it."""

from pathlib import Path

import numpy as np
from fuzz.mutate import damage
from fuzz.records import files_of, put
from fuzz.records import prepare as prepare

from avc_jax import errors
from avc_jax.data.records import make
from avc_jax.train.guard import Guard

APART = True


def check(folder: Path, scratch: Path, number: int, keep: Path | None) -> str:
    rng = np.random.default_rng([3, number])
    files = files_of(folder)
    names = [name for name in files if name not in ("summary.json", "dataset_info.json", "features.json")]
    shards = [name for name in names if "array_record" in name and not name.startswith("shards/")]
    chosen = shards if rng.random() < 0.5 else names
    name = chosen[int(rng.integers(len(chosen)))]
    damaged = damage(files[name], rng, [files[one] for one in shards])
    put(files, folder, scratch, {name: damaged.data}, keep, number)
    with Guard() as guard:
        try:
            make.verify(scratch, guard)
        except errors.DataError:
            return "DataError"
    # Sidecars are for people and for `prepare`, but for the digests in them; in JSON, a blank may be another blank.
    assert damaged.data == files[name] or name.endswith(".json"), f"{damaged.kind} of {name} was not noticed"
    return "read"
