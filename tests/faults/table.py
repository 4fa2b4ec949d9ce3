"""The faults that a run has to survive or refuse, and what must come of each.

A row is kept by tests anywhere in this folder, marked with its key and the case that they are:

    @pytest.mark.fault("two_runs", "the second is started while the first trains")
    def test_...(cache, videos, tmp_path, note): ...

`pytest tests` runs them once, as any other test. A test with the fixture `draw` (an int, to seed what is random) runs
`--draws` times: 1 by default, 20 by `make faults`, which also prints this table with the outcome of each row, and fails
where a row has no test. `note("text")` puts a figure into the row's line. Fixtures are in conftest.py; process.py starts
commands and bounds every wait; inject.py sends a real signal, or falls asleep, at a named place inside a real command.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Row:
    """A fault.

    Attributes:
      key: what marks name it by.
      fault: what happens.
      outcome: what must come of it.
    """

    key: str
    fault: str
    outcome: str


ROWS = (
    Row("kill_in_save", "SIGKILL in the middle of an asynchronous save, 20 random moments",
        "newest valid step restored; final parameters bit-identical to an unbroken run"),
    Row("sigterm", "SIGTERM during compile, first step, evaluation, save; to one process of two",
        "saved (where a step exists), exit 75, resumes identically"),
    Row("lost_process", "process killed, stopped (SIGSTOP), or stuck alive, of two",
        "the other ends within the limit with a message and a non-zero code; restart resumes"),
    Row("roll_call", "coordinator absent, wrong port, one process too few", "ends within the limit, says who is missing"),
    Row("cannot_write", "disk full or read-only during save, log, record writing",
        "clear error, earlier checkpoints intact, exit 74"),
    Row("damage", "checkpoint truncated, bit flipped, file missing, from another model or mesh",
        "detected; previous used, or a clear refusal"),
    Row("nonfinite", "non-finite loss once, ten times, for ever", "skipped and counted; stopped before anything bad is saved"),
    Row("bad_file", "a file that hangs the decoder, segfaults it, or allocates without end",
        "quarantined within its limit; the run goes on"),
    Row("source", "a source folder that vanishes and returns; a shard cut short or overwritten",
        "waits with a message up to a limit, then stops; never garbage"),
    Row("two_runs", "two runs on one workdir", "the second is refused"),
)
KEYS = tuple(row.key for row in ROWS)


def render(outcomes: dict[str, dict[str, list[tuple[str, list[str]]]]]) -> str:
    """The table in words.

    Args:
      outcomes: key of a row -> case -> for each of its runs ("passed", "failed" or "skipped", its notes).
    """
    lines = []
    for row in ROWS:
        cases = outcomes.get(row.key, {})
        runs = [outcome for case in cases.values() for outcome, _ in case]
        lines += [f"{_verdict(runs):10} {row.fault}", f"{'':10} -> {row.outcome}"]
        for name, case in cases.items():
            held = sum(outcome == "passed" for outcome, _ in case)
            notes = list(dict.fromkeys(note for _, notes in case for note in notes))
            lines.append(f"{held:6}/{len(case):<3} {name}" + (f": {'; '.join(notes)}" if notes else ""))
    return "\n".join(lines)


def _verdict(runs: list[str]) -> str:
    if not runs or set(runs) == {"skipped"}:
        return "NOT TESTED"
    return "FAILED" if "failed" in runs else "held"
