"""What the loop says about its input, without training."""

import types

import pytest

from avc_jax.train.loop import _Window


@pytest.mark.parametrize(("shares", "warnings"), [([0.9, 0.1, 0.2], 0), ([0.1, 0.9, 0.9], 1), ([0.9, 0.9], 1)])
def test_slow_source_is_named_once_but_not_for_its_first_batches(shares, warnings, caplog):
    window = _Window(types.SimpleNamespace(source=types.SimpleNamespace(root="/slow/videos")), None, None)
    for share in shares:
        window._tell_if_slow(share)
    assert caplog.text.count("reading /slow/videos is slow") == warnings
