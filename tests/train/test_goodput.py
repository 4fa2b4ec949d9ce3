"""The ledger of time: every second is counted once, over kills and resumes, and what was done again is lost."""

import json

import pytest

from avc_jax.train import goodput
from avc_jax.train.goodput import Goodput


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def train(ledger, clock, first: int, last: int, save_at=()):
    """Compiles for 5 s, then spends 1 s on each step, 0.5 s on waiting before it, 0.25 s on saving after it."""
    ledger.begin(first)
    with ledger.part("compile"):
        clock.now += 5
    with ledger.part("step"):
        for step in range(first + 1, last + 1):
            with ledger.part("data_wait"):
                clock.now += 0.5
            clock.now += 1
            ledger.step = step
            if step in save_at:
                with ledger.part("save"):
                    clock.now += 0.25
                ledger.write()


def check(summary, **parts):
    assert summary["parts"] == dict.fromkeys(goodput.PARTS, 0.0) | parts
    assert sum(summary["parts"].values()) == pytest.approx(summary["wall_s"], abs=1e-6)


def test_parts_of_one_process_add_up_to_its_life(tmp_path, clock):
    ledger = Goodput(tmp_path / "goodput.jsonl", clock=clock, age_s=2.0)
    clock.now += 1
    train(ledger, clock, 0, 4, save_at=(2, 4))
    with ledger.part("evaluate"):
        clock.now += 3
        with ledger.part("save"):
            clock.now += 1
    check(ledger.summary(), init=3.0, compile=5.0, data_wait=2.0, step=4.0, save=1.5, evaluate=3.0)
    ledger.close()


def test_a_part_that_fails_ends_where_it_failed(clock):
    ledger = Goodput(None, clock=clock, age_s=0.0)

    def fail():
        with ledger.part("evaluate"):
            clock.now += 2
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    clock.now += 1
    check(ledger.summary(), init=1.0, evaluate=2.0)


def test_steps_done_again_after_a_kill_are_lost(tmp_path, clock):
    path = tmp_path / "goodput.jsonl"
    killed = Goodput(path, clock=clock, age_s=1.0)
    train(killed, clock, 0, 7, save_at=(3,))
    killed.write()  # as it does from time to time; then SIGKILL
    again = Goodput(path, clock=clock, age_s=1.0)
    train(again, clock, 3, 8, save_at=(6,))
    summary = again.summary()
    # Of seven steps three are kept, and the four from 3 to 7 are lost with their waits.
    check(summary, init=2.0, compile=10.0, data_wait=1.5 + 2.5, step=3.0 + 5.0, save=0.5, lost=4 * 1.5)
    assert summary["processes"] == 2
    again.close()
    killed.close()


def test_steps_that_no_later_process_did_again_are_not_lost(tmp_path, clock):
    path = tmp_path / "goodput.jsonl"
    stopped = Goodput(path, clock=clock, age_s=0.0)
    train(stopped, clock, 0, 3, save_at=(3,))
    stopped.close()
    again = Goodput(path, clock=clock, age_s=0.0)
    train(again, clock, 3, 4)
    check(again.summary(), compile=10.0, data_wait=2.0, step=4.0, save=0.25)
    again.close()


def test_a_checkpoint_that_turned_out_damaged_loses_what_lies_behind_it_in_every_process(tmp_path, clock):
    path = tmp_path / "goodput.jsonl"
    for first, last in ((0, 4), (4, 6), (2, 3)):  # the third could go back to step 2 only
        ledger = Goodput(path, clock=clock, age_s=0.0)
        train(ledger, clock, first, last, save_at=(2, 4, 6))
        ledger.close()
    # 2 steps and a save of the first process, 2 steps and a save of the second.
    check(Goodput(path, clock=clock, age_s=0.0).summary(), compile=15.0, data_wait=1.5, step=3.0, save=0.25, lost=6.5)


def test_lines_that_were_cut_short_are_left_out(tmp_path, clock):
    path = tmp_path / "goodput.jsonl"
    killed = Goodput(path, clock=clock, age_s=0.0)
    train(killed, clock, 0, 1, save_at=(1,))
    killed.close()
    path.write_text(path.read_text() + '\n{"process": "' + "\n[1]\n{}")
    again = Goodput(path, clock=clock, age_s=0.0)
    train(again, clock, 1, 2)
    again.close()
    whole = [line for line in path.read_text().splitlines() if line.endswith("}") and line != "{}"]
    assert len({json.loads(line)["process"] for line in whole}) == 2
    check(again.summary(), compile=10.0, data_wait=1.0, step=2.0, save=0.25)


def test_a_folder_that_cannot_be_written_is_left_to_others(tmp_path, clock):
    ledger = Goodput(tmp_path / "none" / "goodput.jsonl", clock=clock, age_s=0.0)
    train(ledger, clock, 0, 1)
    ledger.close()
    check(ledger.summary(), compile=5.0, data_wait=0.5, step=1.0)


def test_line_of_progress_names_every_part(clock):
    ledger = Goodput(None, clock=clock, age_s=4.0)
    with ledger.part("step"):
        clock.now += 12
    assert goodput.in_words(ledger.summary()) == (
        "Time: 16 s in 1 process(es): init 25.0%, compile 0.0%, data wait 0.0%, step 75.0%, evaluate 0.0%, save 0.0%, lost 0.0%.")


def test_age_of_this_process_is_that_of_the_system():
    assert 0.0 < goodput.process_age_s() < 24 * 3600
