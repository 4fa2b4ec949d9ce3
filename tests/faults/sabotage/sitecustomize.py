"""On the path of a run, lets some files do to the process that decodes them what a file can do to a decoder.

Every Python process imports this module at its start. The files are told by their names: nobody could make real ones on purpose.
"""

import os
import time

_isfile = os.path.isfile


def _opened(path) -> bool:
    import multiprocessing

    name = os.path.basename(os.fspath(path))
    if multiprocessing.parent_process() is not None:  # a decoder, and not the run
        if name == "hangs.mp4":
            time.sleep(3600)
        elif name == "segfaults.mp4":
            import ctypes

            ctypes.string_at(0)
        elif name == "swells.mp4":
            pieces = []
            while True:
                pieces.append(bytearray(16 << 20))
    return _isfile(path)


os.path.isfile = _opened
