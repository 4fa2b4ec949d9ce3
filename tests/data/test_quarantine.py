"""The ledger of bad files survives kills, and the budget is kept."""

import json
import threading

import pytest

from avc_jax import errors
from avc_jax.data.quarantine import Quarantine


def bad(kind="damaged", detail="It is broken."):
    return errors.BadMedia(kind, detail)


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_ledger_has_one_line_per_bad_file(tmp_path):
    ledger = tmp_path / "quarantine.jsonl"
    quarantine = Quarantine(ledger, 100, 0.5)
    quarantine.add("a.mp4", bad())
    quarantine.add("ü/b.mp4", bad("silent", "Not a sound."))
    quarantine.add("a.mp4", bad("unreadable", "Another reason."))
    assert rows(ledger) == [
        {"path": "a.mp4", "kind": "damaged", "reason": "It is broken."},
        {"path": "ü/b.mp4", "kind": "silent", "reason": "Not a sound."},
    ]
    assert "a.mp4" in quarantine.reasons
    assert "c.mp4" not in quarantine.reasons


def test_ledger_is_read_again(tmp_path):
    ledger = tmp_path / "quarantine.jsonl"
    Quarantine(ledger, 100, 0.5).add("a.mp4", bad())
    again = Quarantine(ledger, 100, 0.5)
    assert again.reasons == {"a.mp4": ("damaged", "It is broken.")}
    again.add("a.mp4", bad())
    assert len(rows(ledger)) == 1


@pytest.mark.parametrize("cut", ['{"path": "b.mp4", "ki', "{", '{"path": "b.mp4"}\n', "3\n", "\n"])
def test_line_cut_short_by_a_kill_is_passed_over_and_costs_no_other_line(tmp_path, cut):
    ledger = tmp_path / "quarantine.jsonl"
    Quarantine(ledger, 100, 0.5).add("a.mp4", bad())
    with open(ledger, "a") as file:
        file.write(cut)
    again = Quarantine(ledger, 100, 0.5)
    assert set(again.reasons) == {"a.mp4"}
    again.add("b.mp4", bad())
    again.add("c.mp4", bad())
    assert set(Quarantine(ledger, 100, 0.5).reasons) == {"a.mp4", "b.mp4", "c.mp4"}


def test_line_that_is_no_text_any_more_costs_no_other_line(tmp_path):
    ledger = tmp_path / "quarantine.jsonl"
    Quarantine(ledger, 100, 0.5).add("a.mp4", bad())
    with open(ledger, "ab") as file:
        file.write(b'{"path": "\xff')
    again = Quarantine(ledger, 100, 0.5)
    again.add("b.mp4", bad())
    assert set(Quarantine(ledger, 100, 0.5).reasons) == {"a.mp4", "b.mp4"}


def test_without_a_ledger_the_list_is_kept_in_memory():
    quarantine = Quarantine(None, 100, 0.5)
    quarantine.add("a.mp4", bad())
    assert "a.mp4" in quarantine.reasons


@pytest.mark.parametrize(("files", "budget", "allowed"), [(100, 0.05, 5), (100, 0.0, 0), (10, 0.05, 1), (1, 1.0, 1), (3, 1.0, 3),
                                                          (1000, 0.0019, 1), (100, 0.29, 29)])
def test_budget_is_a_share_of_files_and_one_may_always_be_bad_unless_it_is_zero(files, budget, allowed):
    quarantine = Quarantine(None, files, budget)
    for number in range(allowed):
        quarantine.add(f"{number}.mp4", bad())
    with pytest.raises(errors.DataError, match=f"Found {allowed + 1} of {files} files unusable, expected at most {allowed}"):
        quarantine.add("one_more.mp4", bad())


def test_message_names_the_commonest_reasons_with_an_example_of_each(tmp_path):
    quarantine = Quarantine(tmp_path / "quarantine.jsonl", 8, 0.999)
    kinds = ["silent", "damaged", "no_audio", "damaged", "silent", "damaged", "too_short"]
    for number, kind in enumerate(kinds):
        quarantine.add(f"{number}.mp4", bad(kind, f"Reason of {kind}."))
    with pytest.raises(errors.DataError) as caught:
        quarantine.add("7.mp4", bad("damaged", "Late."))
    lines = str(caught.value).splitlines()
    assert lines[1] == "  4 x damaged, e.g. 1.mp4: Reason of damaged."
    assert lines[2] == "  2 x silent, e.g. 0.mp4: Reason of silent."
    assert "quarantine.jsonl" in lines[-1]


def test_budget_is_checked_again_after_reading_the_ledger(tmp_path):
    ledger = tmp_path / "quarantine.jsonl"
    first = Quarantine(ledger, 10, 0.5)
    for number in range(3):
        first.add(f"{number}.mp4", bad())
    with pytest.raises(errors.DataError):
        Quarantine(ledger, 10, 0.2).check()
    Quarantine(ledger, 10, 0.3).check()


def test_many_threads_record_every_file_once(tmp_path):
    ledger = tmp_path / "quarantine.jsonl"
    quarantine = Quarantine(ledger, 1000, 1.0)
    start = threading.Barrier(8)

    def work(own):
        start.wait()
        for number in range(20):
            quarantine.add(f"{number}.mp4", bad())
            quarantine.add(f"{own}_{number}.mp4", bad())

    threads = [threading.Thread(target=work, args=(own,)) for own in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    paths = [row["path"] for row in rows(ledger)]
    assert len(paths) == len(set(paths)) == 20 + 8 * 20


def test_what_others_tell_and_cannot_be_written_is_raised_by_the_next_check(tmp_path):
    quarantine = Quarantine(tmp_path / "gone" / "quarantine.jsonl", 10, 1.0)
    quarantine.hear("a.mp4", "damaged", "It is broken.")
    with pytest.raises(errors.CannotWriteError, match=r"quarantine\.jsonl cannot be written"):
        quarantine.check()


def test_ledger_that_cannot_be_written_is_said(tmp_path):
    quarantine = Quarantine(tmp_path / "gone" / "quarantine.jsonl", 10, 1.0)
    with pytest.raises(errors.CannotWriteError, match=r"quarantine\.jsonl cannot be written"):
        quarantine.add("a.mp4", bad())
