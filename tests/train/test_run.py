"""The parts of a run, as far as they can be had apart."""

import numpy as np
import pytest

from avc_jax import errors
from avc_jax.train import run
from avc_jax.train.workdir import Workdir


def test_process_with_another_work_directory_than_process_0_is_refused(tmp_path, monkeypatch):
    own = Workdir(str(tmp_path), owned=False)
    run._check_shared(own)
    monkeypatch.setattr(run.multihost_utils, "broadcast_one_to_all", lambda tree: np.zeros_like(tree))
    with pytest.raises(errors.ConfigError, match=r"is not the same folder on .* as for process 0"):
        run._check_shared(own)
