"""Runs avc_jax.main, and writes to $TRACE which samples each process has read for each step.

    TRACE=FOLDER python tests/parallel/traced.py --config=...
"""

import json
import os
import runpy
import sys
from pathlib import Path

_FIELDS = ("label", "clip", "sound_clip", "frame_s", "sound_s")


def main() -> None:
    from avc_jax.data import pipeline

    batches = pipeline.train_batches

    def traced(reader, *, first_step, host=0, hosts=1, names, **options):
        with open(Path(os.environ["TRACE"]) / f"{hosts}-{host}.jsonl", "a") as file:
            found = batches(reader, first_step=first_step, host=host, hosts=hosts, names=(*names, *_FIELDS), **options)
            for step, batch in enumerate(found, start=first_step):
                rows = list(zip(*(batch[name].tolist() for name in _FIELDS), strict=True))
                file.write(json.dumps([step, rows]) + "\n")
                file.flush()
                yield {name: batch[name] for name in names}

    pipeline.train_batches = traced
    sys.argv[0] = "avc_jax.main"
    runpy.run_module("avc_jax.main", run_name="__main__", alter_sys=True)


def read(folder: Path) -> dict[int, list]:
    """step -> the rows of its global batch, as the processes of all runs have read them.

    A step may have been read several times, ahead of a stop and after it; then it has to be the same.
    """
    steps: dict[int, dict[str, dict[int, list]]] = {}
    for path in folder.glob("*.jsonl"):
        hosts, host = path.stem.split("-")
        for line in path.read_text().splitlines():
            step, rows = json.loads(line)
            before = steps.setdefault(step, {}).setdefault(hosts, {}).setdefault(int(host), rows)
            assert before == rows, f"step {step} of process {host} of {hosts} is not always the same"
    found = {}
    for step, shares in steps.items():
        whole = [[row for host in sorted(parts) for row in parts[host]]
                 for hosts, parts in shares.items() if len(parts) == int(hosts)]
        assert all(rows == whole[0] for rows in whole), f"step {step} depends on the number of processes"
        if whole:
            found[step] = whole[0]
    return found


if __name__ == "__main__":
    main()
