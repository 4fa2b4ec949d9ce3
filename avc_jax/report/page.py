"""Puts the parts together and writes the page."""

import base64
import contextlib
import hashlib
import os
import tempfile
import time
from pathlib import Path
from string import Template

import avc_jax
from avc_jax import errors
from avc_jax.report import curves, dimensions, facts, goodput, localisation, pairs, retrieval, scores, space, transfer, units
from avc_jax.report.read import Run, read
from avc_jax.report.text import esc

NAME = "report.html"


def write(workdir: str | Path) -> Path:
    """Writes <workdir>/report.html from what the run left there; returns its path.

    Parts that are missing are named on the page with how to get them.

    Raises:
      MissingInputError: if `workdir` is not a folder.
      CannotWriteError: if the page cannot be written there.
    """
    run = read(workdir)
    path = run.workdir / NAME
    save(path, render(run), "Make the work directory writable, or free some space.")
    return path


def save(path: Path, page: str, remedy: str) -> None:
    """Writes a page so that a reader sees the old one or the new one, never a part.

    Raises:
      CannotWriteError: it cannot be written; `remedy` says what to do.
    """
    try:
        _replace(path, page.encode("utf-8", "replace"))
    except OSError as error:
        raise errors.CannotWriteError(f"Cannot write {path}: {error.strerror or error}. {remedy}") from error


def render(run: Run) -> str:
    """The whole page as HTML."""
    system, folder = (esc(name) for name in facts.names(run))
    parts = {
        "title": f"{system} on {folder}" if folder else system,
        "heading": f"{system} on {folder}" if folder else system,
        "system": "avc_jax",
        "verdict": facts.verdict(run),
        "figures": facts.figures(run),
        "curves": curves.section(run) + goodput.bar(run),
        "scores": scores.section(run),
        "pairs": pairs.section(run),
        "transfer": transfer.section(run),
        "units": units.section(run),
        "space": space.section(run),
        "localisation": localisation.section(run),
        "retrieval": retrieval.section(run),
        "dimensions": dimensions.section(run),
        "data": facts.data(run),
        "config": facts.config(run),
        "reproduce": facts.reproduce(run),
        # Last: reading the pairs may add notes.
        "notes": "".join(f"<p>{esc(note)}</p>" for note in run.notes),
        "workdir": esc(run.workdir.resolve()),
    }
    return fill(_file("page.html"), parts)


def fill(template: str, parts: dict[str, str]) -> str:
    """A page of a template and its parts, with what every page has: looks, script, version and time."""
    script, now = _file("page.js"), time.time()
    return Template(template).substitute(
        parts,
        css=_file("page.css"),
        js=script,
        # The page's policy lets only this script run, whatever the data may hold.
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        version=esc(avc_jax.__version__),
        time_iso=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
        time=time.strftime("%d %B %Y, %H:%M UTC", time.gmtime(now)),
    )


def _file(name: str) -> str:
    """A file that lies beside this one."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _replace(path: Path, content: bytes) -> None:
    """Writes a file so that a reader sees the old one or the new one, never a part."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(content)
            # mkstemp makes files for their owner only; a report is for everyone who may read the folder.
            os.fchmod(out.fileno(), 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
