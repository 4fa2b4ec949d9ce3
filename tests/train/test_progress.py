"""Rates and the line that shows them, by a clock that the test sets."""

import io

import pytest

from avc_jax.train.progress import Progress, _clock_text


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock():
    return Clock()


def test_rates_are_those_since_begin(clock):
    progress = Progress(1000, 32, stream=io.StringIO(), clock=clock)
    progress.begin(100)
    clock.now += 4.0
    assert progress.measure(110, waited_s=1.0) == {"steps_per_s": 2.5, "pairs_per_s": 80.0, "data_wait": 0.25}
    progress.begin(110)
    clock.now += 2.0
    assert progress.measure(120, waited_s=5.0) == {"steps_per_s": 5.0, "pairs_per_s": 160.0, "data_wait": 1.0}


def test_time_before_begin_is_not_counted(clock):
    progress = Progress(1000, 1, stream=io.StringIO(), clock=clock)
    clock.now += 1000.0  # compiling
    progress.begin(0)
    clock.now += 1.0
    assert progress.measure(2, 0.0)["steps_per_s"] == 2.0


def test_no_time_at_all_divides_by_nothing(clock):
    progress = Progress(10, 1, stream=io.StringIO(), clock=clock)
    progress.begin(0)
    values = progress.measure(0, 0.0)
    assert values["steps_per_s"] == 0
    progress.report(0, values)


def test_report_is_a_line_of_its_own_in_a_file(clock):
    stream = io.StringIO()
    progress = Progress(1000, 32, stream=stream, clock=clock)
    values = {"loss": 0.69314, "accuracy": 0.5, "gradient_norm": 3.0, "steps_per_s": 2.5, "pairs_per_s": 80.0, "data_wait": 0.25}
    progress.report(100, values)
    progress.report(200, values)
    wanted = "step 100/1000  loss 0.693  accuracy 0.500  2.50 steps/s  80 pairs/s  data wait 25%  left 6:00\n"
    assert stream.getvalue().splitlines(keepends=True)[0] == wanted
    assert stream.getvalue().count("\n") == 2


def test_report_is_rewritten_in_place_on_a_terminal_and_said_lines_stay(clock):
    stream = Terminal()
    progress = Progress(10, 1, stream=stream, clock=clock)
    progress.report(1, {"steps_per_s": 1.0, "pairs_per_s": 1.0, "data_wait": 0.0})
    assert stream.getvalue().startswith("\r\x1b[K")
    assert "\n" not in stream.getvalue()
    progress.say("Saved.")
    assert stream.getvalue().endswith("\r\x1b[KSaved.\n")


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.9, "0:59"), (60, "1:00"), (3599, "59:59"), (3600, "1:00:00"),
                                               (360_061, "100:01:01")])
def test_times_are_hours_minutes_seconds(seconds, text):
    assert _clock_text(seconds) == text
