"""Renders a folder of narrated clips with its manifest.csv; the same command goes on where it was interrupted.

    python -m avc_jax.data.narrated --root=runs/narrated_en --language=en
    python -m avc_jax.data.narrated --root=runs/narrated_ja --language=ja --clips=900

Exit codes are those of avc_jax.main.
"""

import sys

from absl import flags

from avc_jax import command, errors
from avc_jax.data import narrated
from avc_jax.data.narrated import speech

_FLAGS = flags.FlagValues()  # of this command alone, so that others can be imported beside it
_ROOT = flags.DEFINE_string("root", "", "Folder to render into.", flag_values=_FLAGS)
_LANGUAGE = flags.DEFINE_enum("language", "en", list(narrated.LANGUAGES), "What the voices speak.", flag_values=_FLAGS)
_CLIPS = flags.DEFINE_integer("clips", 2880, "How many clips; one of six is of the split test.", flag_values=_FLAGS)
_SEED = flags.DEFINE_integer("seed", 0, "Another seed gives other clips of the same scenes.", flag_values=_FLAGS)
_SPEECH = flags.DEFINE_enum("speech", "", ["", *speech.KINDS], "Voices of espeak-ng, or words made of tones; empty: espeak-ng if "
                            "it is installed.", flag_values=_FLAGS)


def main(argv: list[str]) -> int:
    """Runs the command and returns its exit code."""
    return command.run_with(argv, __name__, _FLAGS, _run)


def _run() -> None:
    if not _ROOT.value:
        raise errors.ConfigError("--root is missing: name a folder to render into.")
    recipe = narrated.narrate_folder(_ROOT.value, language=_LANGUAGE.value, num_clips=_CLIPS.value, seed=_SEED.value,
                                     kind=_SPEECH.value)
    print(f"{_ROOT.value}: {_CLIPS.value} clips, narrated in {recipe.language} by {recipe.speech} "
          f"{speech.version(recipe.speech)}.")


if __name__ == "__main__":
    command.end(main(sys.argv))
