"""Makes the visual features that AVLnet and its family learn from, of raw videos, in HowTo100M's published layout.

    python -m avc_jax.features --videos=VIDEOS --out=FEATURES --weights_2d=resnet152.pth --weights_3d=resnext-101-kinetics.pth
    python -m avc_jax.features --videos=VIDEOS --manifest=clips.csv --out=FEATURES --spectrograms --weights_2d=... ...

A row a second of ResNet-152 and three in two seconds of ResNeXt-101 over 16 pictures, and on demand the spectrogram. The same
command goes on where it was stopped or killed; bad videos are listed with the reason. docs/features.md says what is in the
folder. Exit codes are those of avc_jax.main.
"""

import contextlib
import os
import sys

from absl import flags

from avc_jax import __version__, command, errors

_FLAGS = flags.FlagValues()  # of this command alone, so that others can be imported beside it
_VIDEOS = flags.DEFINE_string("videos", "", "Folder of videos, searched recursively.", flag_values=_FLAGS)
_MANIFEST = flags.DEFINE_string("manifest", "", "CSV with path[,split,label,start_s,end_s] and what else is to be said of a "
                                "clip, such as caption; empty: every video found.", flag_values=_FLAGS)
_OUT = flags.DEFINE_string("out", "", "Folder of features, made if it does not exist.", flag_values=_FLAGS)
_WEIGHTS_2D = flags.DEFINE_string("weights_2d", "", "State dict of torchvision's ResNet-152 (or --depth_2d) with ImageNet "
                                  "weights.", flag_values=_FLAGS)
_WEIGHTS_3D = flags.DEFINE_string("weights_3d", "", "State dict of ResNeXt-101 with Kinetics weights, resnext-101-kinetics.pth.",
                                  flag_values=_FLAGS)
_RANDOM = flags.DEFINE_integer("random_weights", None, "Seed of networks that nobody has trained, for demonstrations and tests.",
                               lower_bound=0, flag_values=_FLAGS)
_STREAMS = flags.DEFINE_enum("streams", "2d+3d", ["2d+3d", "2d", "3d"], "Which features to make.", flag_values=_FLAGS)
_SPECTROGRAMS = flags.DEFINE_bool("spectrograms", False, "Make the spectrogram of each video's sound, too.", flag_values=_FLAGS)
_DEPTH_2D = flags.DEFINE_enum("depth_2d", "152", ["18", "34", "50", "101", "152"], "Layers of the 2-D network; the published "
                              "features are of 152.", flag_values=_FLAGS)
_WIDTH = flags.DEFINE_float("width", 1.0, "Factor on the channels of both networks; published weights have 1.",
                            lower_bound=1 / 64, upper_bound=8.0, flag_values=_FLAGS)
_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Of the computation: float32 with exact products, or "
                           "bfloat16, which is faster on accelerators. Features are float16.", flag_values=_FLAGS)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Pictures, and chunks of 16, computed at once; rounded up to a multiple of "
                                   "the devices.", lower_bound=1, flag_values=_FLAGS)
_WORKERS = flags.DEFINE_integer("workers", 0, "Processes that decode; 0: one per core.", lower_bound=0, flag_values=_FLAGS)
_BUDGET = flags.DEFINE_float("quarantine_budget", 0.05, "Share of the videos that may be bad before the command stops.",
                             lower_bound=0.0, upper_bound=1.0, flag_values=_FLAGS)
_FRACTIONS = flags.DEFINE_list("split_fractions", ["0.8", "0.1", "0.1"], "Train, validation, test; by a hash of each path, where "
                               "no manifest says.", flag_values=_FLAGS)


def main(argv: list[str]) -> int:
    """Runs the command and returns its exit code."""
    return command.run_with(argv, __name__, _FLAGS, _run)


def _run() -> None:
    from avc_jax.data.sources import open_folder, parse_fractions, read_manifest
    from avc_jax.train.guard import Guard
    from avc_jax.train.workdir import Workdir
    from avc_jax.visual import folder

    weights = _weights()
    with Guard() as guard:
        source = open_folder(_VIDEOS.value, _MANIFEST.value, parse_fractions(_FRACTIONS.value, "--split_fractions"),
                             settings=("--videos", "--manifest"))
        rows = (read_manifest(source.root, _MANIFEST.value, "--manifest") if _MANIFEST.value
                else [{"path": clip.path} for clip in source.clips])
        folder.refuse_clashes(sorted({clip.path for clip in source.clips}))
        folder.refuse_other_folder(_OUT.value)
        with contextlib.closing(Workdir(_OUT.value, flag="--out")) as workdir:
            try:
                _make(source, rows, workdir, weights, guard)
            except errors.Stopped as stopped:
                raise errors.Stopped(f"{stopped} Features of finished videos stay; the same command goes on.") from None


def _weights() -> dict[str, str]:
    """Stream -> path of its weights; empty: random ones.

    Raises:
      ConfigError: weights are missing, or there are two kinds of them.
      MissingInputError: there is no such file.
    """
    given = {"2d": _WEIGHTS_2D.value, "3d": _WEIGHTS_3D.value}
    named = {name: path for name, path in given.items() if path}
    if _RANDOM.value is not None and named:
        raise errors.ConfigError(f"--random_weights={_RANDOM.value} and --weights_{next(iter(named))}: found both; name one.")
    wanted = _STREAMS.value.split("+")
    for name in wanted:
        if not given[name] and _RANDOM.value is None:
            raise errors.ConfigError(
                f"--weights_{name} is missing: name the file of {'ImageNet' if name == '2d' else 'Kinetics'} weights "
                "(docs/features.md says which). --streams chooses one of the two networks; --random_weights=0 makes features of "
                "networks that nobody has trained, which are good for trying things out and for nothing else.")
        if given[name] and not os.path.isfile(given[name]):
            raise errors.MissingInputError(f"--weights_{name}={given[name]}: there is no such file.")
    return {name: given[name] for name in wanted}


def _make(source, rows: list[dict[str, str]], workdir, weights: dict[str, str], guard) -> None:
    # These import JAX, which takes seconds: whatever can be told without is told first.
    import av
    import jax

    from avc_jax.data.quarantine import Quarantine
    from avc_jax.visual import folder, make, networks

    streams, facts = {}, {}
    for name, path in weights.items():
        stream = networks.make_stream(name, int(_DEPTH_2D.value), _WIDTH.value, _DTYPE.value)
        variables, told = networks.load(stream, path, _RANDOM.value)
        streams[name] = stream, variables
        facts[name] = {"network": stream.title, **told, "rate_hz": stream.rate_hz, "width": stream.width, "dtype": _DTYPE.value}
    if _SPECTROGRAMS.value:
        facts["spec"] = networks.SPECTROGRAM_FACTS
    folder.claim(workdir, source.root, facts, {"avc_jax": __version__, "jax": jax.__version__, "av": av.__version__})
    ledger = Quarantine(workdir.path / folder.LEDGER, source.num_files, _BUDGET.value, setting="--quarantine_budget")
    progress = make.Progress()
    if _RANDOM.value is not None:
        progress.say(f"RANDOM WEIGHTS (seed {_RANDOM.value}): these features are good for trying things out, and for nothing "
                     "else.")
    maker = make.Maker(source.root, workdir, streams, networks.spectrogram if _SPECTROGRAMS.value else None,
                       batch_size=_BATCH_SIZE.value, workers=_WORKERS.value, ledger=ledger, guard=guard, progress=progress)
    with jax.default_matmul_precision("highest" if _DTYPE.value == "float32" else "default"):
        maker.make(sorted({clip.path for clip in source.clips}))
    progress.end()
    print(make.summary_text(make.finish(source, rows, workdir, maker, ledger)))
    print(f"Train on them with --config.data.source=features --config.data.root={_OUT.value}")


if __name__ == "__main__":
    command.end(main(sys.argv))
