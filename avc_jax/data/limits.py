"""What one file may cost, and how long a source may be away: settings of this process, as a run's config gives them.

They are no arguments of whoever reads, because they have no influence on what is read.
"""

import contextlib
import dataclasses
import resource
from collections.abc import Iterator
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Limits:
    """See config.data.

    Attributes:
      decode_s: seconds that decoding may take, of what is asked of one file at a time.
      memory_mb: megabytes that a decoder's process may take on top of what it starts with.
      patience_s: seconds that a source may be away.
    """

    decode_s: float = 60.0
    memory_mb: int = 2048
    patience_s: float = 600.0


_current = Limits()


def current() -> Limits:
    return _current


def use(limits: Limits) -> Limits:
    """Makes them those of this process; returns what they were."""
    global _current
    before, _current = _current, limits
    return before


def use_config(config) -> None:
    """Makes those of a config those of this process."""
    data = config.data
    use(Limits(data.decode_limit_s, data.decode_memory_mb, data.patience_s))


@contextlib.contextmanager
def at_most(extra_bytes: int) -> Iterator[None]:
    """Lets this process have so much memory on top of what it has; more than that is a MemoryError, and in libav ENOMEM.

    RLIMIT_DATA counts what can be written to and belongs to nobody else. RLIMIT_AS would count what malloc only reserves, too;
    and whoever looks at the resident memory now and then comes too late for a single large piece.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = _data_bytes() + extra_bytes
    if wanted == extra_bytes or (soft != resource.RLIM_INFINITY and wanted > soft):
        yield  # not Linux, and elsewhere the limit does not mean this; or there is a lower one
        return
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _data_bytes() -> int:
    """What RLIMIT_DATA counts of this process; 0 where nobody says."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmData:")), 0)
