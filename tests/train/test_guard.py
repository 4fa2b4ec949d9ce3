"""Real signals to this very process."""

import os
import signal

import pytest

from avc_jax import errors
from avc_jax.train.guard import Guard


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_sets_the_flag_and_is_raised_where_it_is_asked_for(number):
    with Guard() as guard:
        guard.raise_if_stopped()
        assert not guard.should_stop
        send(number)
        assert guard.should_stop
        with pytest.raises(errors.Stopped, match=f"Stopped by {number.name}"):
            guard.raise_if_stopped()


def test_second_ctrl_c_interrupts_at_once():
    with Guard() as guard:
        send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
        assert guard.should_stop


def test_second_sigterm_waits_like_the_first():
    with Guard() as guard:
        send(signal.SIGTERM)
        send(signal.SIGTERM)
        assert guard.signal_name == "SIGTERM"


@pytest.mark.parametrize("fails", [False, True])
def test_handlers_are_put_back(fails):
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with Guard():
            assert signal.getsignal(signal.SIGTERM) != before[signal.SIGTERM]
            if fails:
                raise RuntimeError
    except RuntimeError:
        pass
    assert {number: signal.getsignal(number) for number in before} == before


def test_stopped_is_an_exit_code_that_schedulers_retry():
    assert errors.Stopped.exit_code == 75
