"""What every page has: looks, a script, a header, sections, who wrote it and when; and how it is written."""

import base64
import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import NamedTuple

import avc_jax
from avc_jax import errors
from avc_jax.report.text import esc


class Section(NamedTuple):
    """A part of a page.

    Attributes:
      name: its id, for links.
      heading: in words.
      content: HTML.
    """

    name: str
    heading: str
    content: str


def frame(*, kind: str, title: str, heading: str, top: str, sections: Sequence[Section], origin: str, notes: str = "") -> str:
    """A whole page as HTML; all of its parts are HTML, too.

    Args:
      kind: of page.
      title: of the window.
      heading: of the page.
      top: what follows the heading.
      sections: in order.
      origin: what it was made from.
      notes: what precedes that.
    """
    script, now = _file("page.js"), time.time()
    main = "\n".join(f'<section id="{name}" aria-labelledby="h-{name}"><h2 id="h-{name}">{heading}</h2>\n{content}\n</section>'
                     for name, heading, content in sections)
    return Template(_file("frame.html")).substitute(
        kind=kind, title=title, heading=heading, top=top, main=main, notes=notes, origin=origin, css=_file("page.css"), js=script,
        # The page's policy lets only this script run, whatever the data may hold.
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        version=esc(avc_jax.__version__), time_iso=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
        time=time.strftime("%d %B %Y, %H:%M UTC", time.gmtime(now)))


def save(path: Path, page: str, remedy: str) -> None:
    """Writes a page so that a reader sees the old one or the new one, never a part.

    Raises:
      CannotWriteError: it cannot be written; `remedy` says what to do.
    """
    try:
        _replace(path, page.encode("utf-8", "replace"))
    except OSError as error:
        raise errors.CannotWriteError(f"Cannot write {path}: {error.strerror or error}. {remedy}") from error


def _file(name: str) -> str:
    """A file that lies beside this one."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _replace(path: Path, content: bytes) -> None:
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
