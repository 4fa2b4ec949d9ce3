"""Decodes a folder of videos once, into checked records that training reads instead of them.

    python -m avc_jax.prepare --videos=VIDEOS --out=RECORDS
    python -m avc_jax.prepare --out=RECORDS --verify
    python -m avc_jax.prepare --videos=VIDEOS --out=RECORDS --runner=beam --beam_pipeline_options=runner=FlinkRunner,...

The same command goes on where it was stopped or killed, and makes anew whatever was damaged. Exit codes are those of
avc_jax.main.
"""

import contextlib
import os
import sys
from pathlib import Path

from absl import flags

from avc_jax import command, errors

_FLAGS = flags.FlagValues()  # of this command alone, so that others can be imported beside it
_VIDEOS = flags.DEFINE_string("videos", "", "Folder of videos, searched recursively.", flag_values=_FLAGS)
_OUT = flags.DEFINE_string("out", "", "Folder of records, made if it does not exist.", flag_values=_FLAGS)
_MANIFEST = flags.DEFINE_string("manifest", "", "CSV with path[,split,label,start_s,end_s]; empty: every video found.",
                                flag_values=_FLAGS)
_WORKERS = flags.DEFINE_integer("workers", 0, "Processes; 0: one per core; 1: none beside this one. With --runner=beam: "
                                "threads of Beam's DirectRunner; other runners have options of their own.", lower_bound=0,
                                flag_values=_FLAGS)
_RUNNER = flags.DEFINE_enum("runner", "local", ["local", "beam"], "Who makes the records, the same ones: processes of this "
                            "machine, or Apache Beam (an extra: requirements-beam.txt). With beam, --videos and --out have to be "
                            "folders that every worker reaches by the same path, as on a shared file system.", flag_values=_FLAGS)
_BEAM = flags.DEFINE_list("beam_pipeline_options", [], "Options of Beam's pipeline, name=value,name=value, such as "
                          "runner=FlinkRunner,flink_master=HOST:8081; without runner: DirectRunner, on this machine.",
                          flag_values=_FLAGS)
_VERIFY = flags.DEFINE_bool("verify", False, "Reread every record and check it; after making them if --videos is given.",
                            flag_values=_FLAGS)
_BUDGET = flags.DEFINE_float("quarantine_budget", 0.05, "Share of files that may be bad (one always may, unless 0).",
                             lower_bound=0.0, upper_bound=1.0, flag_values=_FLAGS)
_FPS = flags.DEFINE_float("fps", 5.0, "Frames kept per second.", lower_bound=0.01, upper_bound=1000.0, flag_values=_FLAGS)
_SHORT_SIDE = flags.DEFINE_integer("short_side", 256, "Pixels of the shorter side of a frame.", lower_bound=8, upper_bound=4096,
                                   flag_values=_FLAGS)
_QUALITY = flags.DEFINE_integer("quality", 90, "Quality of the JPEGs.", lower_bound=1, upper_bound=100, flag_values=_FLAGS)
_RATE_HZ = flags.DEFINE_integer("rate_hz", 48000, "Sample rate of the sound.", lower_bound=1000, upper_bound=192000,
                                flag_values=_FLAGS)
_WINDOW_S = flags.DEFINE_float("window_s", 1.0, "Clips shorter than this are rejected.", lower_bound=0.05, upper_bound=60.0,
                               flag_values=_FLAGS)
_LONGEST_S = flags.DEFINE_float("longest_s", 600.0, "Clips longer than this are rejected: a record is read whole.",
                                lower_bound=0.05, upper_bound=7200.0, flag_values=_FLAGS)
_PER_SHARD = flags.DEFINE_integer("clips_per_shard", 100, "Clips per shard.", lower_bound=1, upper_bound=1_000_000,
                                  flag_values=_FLAGS)
_FRACTIONS = flags.DEFINE_list("split_fractions", ["0.8", "0.1", "0.1"],
                               "Shares of train, validation, test where no manifest gives splits.", flag_values=_FLAGS)


def main(argv: list[str]) -> int:
    """Runs the command and returns its exit code."""
    return command.run_with(argv, __name__, _FLAGS, _run)


def _run() -> None:
    from avc_jax.data.records.make import refuse_other_folder
    from avc_jax.data.sources import open_folder, parse_fractions
    from avc_jax.train.guard import Guard
    from avc_jax.train.workdir import Workdir

    fractions = parse_fractions(_FRACTIONS.value, "--split_fractions")
    with Guard() as guard:
        if _VERIFY.value and not _VIDEOS.value:
            _verify(guard)
            return
        runner = _runner()
        source = open_folder(_VIDEOS.value, _MANIFEST.value, fractions, settings=("--videos", "--manifest"))
        refuse_other_folder(_OUT.value)
        with contextlib.closing(Workdir(_OUT.value, flag="--out")) as workdir:
            _make(source, workdir, fractions, guard, runner)
        if _VERIFY.value:
            _verify(guard)


def _runner():
    """Who makes the shards; None: processes of this machine."""
    if _RUNNER.value == "beam":
        from avc_jax.data.records.beam import BeamRunner

        return BeamRunner(_BEAM.value, _WORKERS.value)
    if _BEAM.value:
        raise errors.ConfigError(f"--beam_pipeline_options={','.join(_BEAM.value)} is for --runner=beam, found "
                                 f"--runner={_RUNNER.value}: add --runner=beam, or leave them out.")
    return None


def _make(source, workdir, fractions: tuple[float, ...], guard, runner) -> None:
    from avc_jax.data.records import make
    from avc_jax.data.records.layout import Recipe

    recipe = Recipe(_FPS.value, _SHORT_SIDE.value, _QUALITY.value, _RATE_HZ.value, _WINDOW_S.value, _LONGEST_S.value,
                    _PER_SHARD.value, fractions)
    try:
        summary = make.make_records(source, workdir, recipe, guard, workers=_WORKERS.value, budget=_BUDGET.value, runner=runner)
    except errors.Stopped as stopped:
        raise errors.Stopped(f"{stopped} Finished shards stay; the same command goes on.") from None
    print(make.summary_text(summary))
    print(f"Train on them with --config.data.source=records --config.data.root={_OUT.value}")


def _verify(guard) -> None:
    from avc_jax.data.records import make

    if not os.path.isdir(_OUT.value):
        raise errors.MissingInputError(f"--out={_OUT.value}: there is no such folder, so nothing to verify.")
    print(f"Verified: {make.verify(Path(_OUT.value), guard)} records are as they were written.")


if __name__ == "__main__":
    command.end(main(sys.argv))
