"""The files that a user means: named one by one, by a folder or by a glob."""

import glob
import os
from pathlib import Path

from avc_jax import errors
from avc_jax.data import still
from avc_jax.data.sources import EXTENSIONS, find_files

# More kinds than training looks for, as nothing is drawn from them at random.
VIDEOS = (*EXTENSIONS, ".mpg", ".mpeg", ".ts", ".flv", ".wmv", ".3gp", ".ogv", ".gif")
SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".aif", ".aiff", ".wma", ".amr")


def find_inputs(inputs: list[str], modality: str) -> list[str]:
    """The files that inputs name, each once: in the order of the inputs, sorted within each.

    Args:
      inputs: files, folders and globs. Of a folder those files are meant whose extension is one of the modality.
      modality: audio, video, or any of the two.

    Raises:
      MissingInputError: an input names no file.
    """
    if not inputs:
        raise errors.MissingInputError("--inputs is missing: name a file, a folder or a glob.")
    beside = {"audio": SOUNDS, "video": still.EXTENSIONS, "any": SOUNDS + still.EXTENSIONS}
    extensions = VIDEOS + beside[modality]
    found: dict[str, None] = {}
    for one in inputs:
        if os.path.isdir(one):
            names = [os.path.join(one, name) for name in find_files(Path(one), f"--inputs={one}", extensions)]
        elif os.path.exists(one):  # also a name with brackets in it
            names = [one]
        else:
            names = sorted(name for name in glob.glob(one, recursive=True) if os.path.isfile(name))
        if not names:
            kind = "sounds, videos or images in it" if modality == "any" else f"files for --modality={modality}"
            what = f"a folder with {kind}" if os.path.isdir(one) else "a file, a folder or a glob"
            raise errors.MissingInputError(f"--inputs={one}: expected {what}, found none.")
        found |= dict.fromkeys(names)
    return list(found)
