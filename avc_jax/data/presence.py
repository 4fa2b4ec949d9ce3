"""Tells a file that is gone or bad from a source that is away, and waits for such a source.

When a disk is unplugged, a mount drops or a folder is moved, every file of it fails, and none of them is bad. Were they put into
quarantine, a run would end, or worse, go on with what is left. So whoever fails to read asks here first: where the files beside
it are away, too, it is their folder that is, and everybody waits for that, up to a limit.
"""

import bisect
import functools
import logging
import posixpath
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from avc_jax import errors
from avc_jax.data import decoders, limits, processes

logger = logging.getLogger(__name__)

_FEWEST, _MOST = 3, 16  # files beside one that are looked at
_POLL_S = 1.0
_TELL_S = 60.0
_LOOK_S = 20.0  # A network file system may not answer at all.
# How reading fails where a source was away and is back when somebody looks. Who waited for one that hangs is not to wait twice.
_PASSING = "unreadable"

T = TypeVar("T")
_telling = threading.Lock()
_told_s: float | None = None  # None: nobody waits
_on_wait: Callable[[], None] | None = None


def while_waiting(call: Callable[[], None]) -> None:
    """Has something called every second of any wait, from whichever thread waits."""
    global _on_wait
    _on_wait = call


def patiently(read: Callable[[], T], why_away: Callable[[], str], should_stop: Callable[[], bool] = lambda: False) -> T:
    """read(); where it fails because its source is away, again when that is back.

    Args:
      read: raises BadMedia if it fails.
      why_away: asked then: a clause on what is away, empty if nothing is.
      should_stop: asked every second while it waits.

    Raises:
      BadMedia: as `read` does, where its source is there, and was there for a second try.
      MissingInputError: the source did not come back in time.
      Stopped: `should_stop` said so, or this process is about to end.
    """
    began, once_more = None, True
    while True:
        try:
            found = read()
        except errors.BadMedia as error:
            reason = why_away()
            if not reason:
                if not once_more or (began is None and error.kind != _PASSING):
                    raise
                once_more = False
                continue
            once_more = True
        else:
            if began is not None:
                _tell(f"It is back after {time.monotonic() - began:.0f} s; going on.", None)
            return found
        began = time.monotonic() if began is None else began
        _wait(f"{reason[0].upper()}{reason[1:]}", began)
        if should_stop():
            raise errors.Stopped("Stopped.")


def _wait(reason: str, began: float) -> None:
    """Waits a little for what is away since `began`; raises as `patiently` does."""
    patience_s, waited_s = limits.current().patience_s, time.monotonic() - began
    if waited_s >= patience_s:
        raise errors.MissingInputError(f"{reason}, and that has not changed in {patience_s:g} s (config.data.patience_s). Put "
                                       "it right; the same command goes on from the last checkpoint.")
    _tell(f"{reason}; waiting for it, up to {patience_s:g} s.", time.monotonic())
    if _on_wait is not None:
        _on_wait()
    if processes.ending.wait(min(_POLL_S, patience_s - waited_s)):
        raise errors.Stopped("The run is ending.")


def _tell(text: str, now: float | None) -> None:
    """Says something once for all threads that wait, and again every minute; `now` None: that the waiting is over."""
    global _told_s
    with _telling:
        if (now is None and _told_s is None) or (now is not None and _told_s is not None and now - _told_s < _TELL_S):
            return
        _told_s = now
    logger.warning("%s", text)


class Neighbours:
    """The files of a source, and which of them lie beside each other.

    Attributes:
      has_read: whether any was read; of files that never were there nobody can say that they are away.
    """

    def __init__(self, root: Path, names: Iterable[str], files: Callable[[str], Sequence[Path]]):
        """
        Args:
          root: the source's folder.
          names: paths of what there is in the source.
          files: name -> its files, as many for each, in the same order.
        """
        self._root, self._names, self._files = root, sorted(set(names)), files
        self.has_read = False

    def why_away(self, name: str) -> str:
        """A clause on what is away, where the files of `name` are, and those beside it; else empty."""
        beside = [self._files(one) for one in self._beside(name)] if self.has_read else []
        try:
            return decoders.call(_look, self._root, self._files(name), beside, limit_s=_LOOK_S)
        except errors.BadMedia:
            return f"{self._root} does not answer"

    def _beside(self, name: str) -> list[str]:
        """Some names of the smallest folder around a name in which there are a few others."""
        folder = posixpath.dirname(name)
        while True:
            prefix = f"{folder.rstrip('/')}/" if folder else ""
            begin, end = (bisect.bisect_left(self._names, edge) for edge in (prefix, f"{prefix}\U0010ffff"))
            if end - begin > _FEWEST or posixpath.dirname(folder) == folder:
                places = sorted({begin + number * (end - begin) // _MOST for number in range(_MOST)})
                return [self._names[place] for place in places if place < end and self._names[place] != name]
            folder = posixpath.dirname(folder)


def _look(root: Path, own: Sequence[Path], beside: Sequence[Sequence[Path]]) -> str:
    """See `Neighbours.why_away`; in a process that may hang."""
    for number, file in enumerate(own):
        if is_there(file):
            continue
        if not root.is_file() and not (root.is_dir() and any(root.iterdir())):
            return f"{root} is gone"  # or a mount point without its mount
        if beside and not any(is_there(files[number]) for files in beside):
            return f"{file} is gone, and so are the files beside it"
    return ""


def is_there(path: Path) -> bool:
    """Whether a file can be read from at all."""
    try:
        if not path.is_file():
            return False
        with open(path, "rb", buffering=0) as file:
            file.read(1)
        return True
    except OSError:
        return False


def read_beside(neighbours: Neighbours, name: str, read: Callable[[], T], should_stop: Callable[[], bool] = lambda: False) -> T:
    """`patiently`, of a name among its neighbours."""
    found = patiently(read, functools.partial(neighbours.why_away, name), should_stop)
    neighbours.has_read = True
    return found
