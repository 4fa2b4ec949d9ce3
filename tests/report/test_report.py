"""The report page: from full, partial, damaged and hostile work directories to a page that stands alone."""

import base64
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report.workdirs import REPO, check, make_metrics, make_pairs, make_quarantine, make_results

from avc_jax import errors, report
from avc_jax.report import __main__ as command
from avc_jax.report import charts, curves, pairs, read, text

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>$title${css}&amp;\x00\u202e"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """A work directory after a whole run."""
    make_metrics(tmp_path)
    make_results(tmp_path)
    make_quarantine(tmp_path)
    make_pairs(tmp_path)
    return tmp_path


def test_full(full):
    page = check(full)
    said = page.text()
    for expected in (
        "L3-Net on city",
        "91.0 %",
        "95 % interval 88.0\N{EN DASH}94.0 %",
        "240 clips",
        "chance 50 %",
        "step 60",
        "That is above chance.",
        "3,840",
        "4 min 36 s",
        "q/19.mp4",
        "and 5 more",
        "python -m avc_jax.main --config=c.py --workdir=w",
        "train.batch_size",
        "0.10.2",
    ):
        assert expected in said
    assert "q/20.mp4" not in said
    assert "abababababab" in said and page.all("code")[0].get("title") == "ab" * 32
    assert len(page.all("audio")) == 4
    assert said.count("\N{CHECK MARK} right") == said.count("\N{BALLOT X} wrong") == 2
    assert len(page.all("figure")) == 4
    assert not any(attrs.get("class") == "missing" for attrs in page.all("p"))


def test_empty_folder(tmp_path):
    said = check(tmp_path).text()
    for expected in ("No held-out accuracy yet", "No curves yet", "No pairs yet", "No config.json"):
        assert expected in said
    assert "quarantined" not in said


def test_only_metrics(tmp_path):
    make_metrics(tmp_path)
    page = check(tmp_path)
    assert "53.0 %" in page.text() and "results.json holds no evaluation yet" in page.text()
    assert len(page.all("figure")) == 4


def test_first_steps(tmp_path):
    make_metrics(tmp_path, steps=10)
    assert "No held-out accuracy yet" in check(tmp_path).text()


def test_cut_last_line_is_no_problem_but_a_bad_line_is_told(tmp_path):
    make_metrics(tmp_path, end='{"step": 70, "train/lo')
    assert read.read(tmp_path).notes == []
    assert read.read(tmp_path).metrics[-1]["step"] == 60
    make_metrics(tmp_path, end='nonsense\n[1]\n{"step": 70, "train/loss": 0.1}\n')
    run = read.read(tmp_path)
    assert run.metrics[-1]["train/loss"] == 0.1
    assert run.notes == ["metrics.jsonl: 2 unreadable lines skipped."]


def test_resume_replaces_what_was_there():
    rows = [{"step": s, "train/loss": 1.0, "train/lr": 0.1} for s in (10, 20, 30, 40)]
    rows.insert(3, {"step": 30, "evaluate/avc/accuracy": 0.6})
    rows += [{"step": 20, "train/loss": 2.0}, {"step": 30, "train/loss": 2.0}]
    merged = read.merge(rows)
    assert [row["step"] for row in merged] == [10, 20, 30]
    assert [row["train/loss"] for row in merged] == [1.0, 2.0, 2.0]
    assert "evaluate/avc/accuracy" not in merged[-1]


def test_evaluation_of_an_older_step_is_no_resume():
    rows = [{"step": s, "train/loss": 1.0} for s in (10, 20, 30)] + [
        {"step": 20, "evaluate/avc/accuracy": 0.6}
    ]
    merged = read.merge(rows)
    assert [row["step"] for row in merged] == [10, 20, 30]
    assert merged[1] == {"step": 20, "train/loss": 1.0, "evaluate/avc/accuracy": 0.6}


def test_null_and_nan_are_gaps(tmp_path):
    lines = [
        '{"step": 1, "train/loss": 1}',
        '{"step": 2, "train/loss": null}',
        '{"step": 3, "train/loss": NaN}',
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, '{"step": 4, "train/loss": 0.5}', ""]))
    said = check(tmp_path).text()
    assert "Not finite at 2 recorded steps, first at 2" in said


@pytest.mark.parametrize(
    "damage", ["{", "[]", "\xff\xfe", '{"train": 3, "evaluate": {"avc": []}, "data": null}']
)
def test_damaged_files(full, damage):
    for name in ("results.json", "config.json", "quarantine.jsonl", "pairs.npz"):
        (full / name).write_text(damage, encoding="latin-1")
    assert "pairs.npz could not be read" in check(full).text()


def test_cut_or_misshapen_pairs(full):
    whole = (full / "pairs.npz").read_bytes()
    (full / "pairs.npz").write_bytes(whole[: len(whole) // 2])
    assert "pairs.npz could not be read" in check(full).text()
    with np.load(io.BytesIO(whole)) as stored:
        arrays = dict(stored)
    np.savez(full / "pairs.npz", **(arrays | {"frame": arrays["frame"][0]}))
    assert "unexpected shapes" in check(full).text()
    np.savez(full / "pairs.npz", **{k: v[:0] if v.ndim else v for k, v in arrays.items()})
    assert "No pairs yet" in check(full).text()
    arrays["score"][0] = np.nan
    arrays["spectrogram"][:] = np.nan
    np.savez(full / "pairs.npz", **arrays)
    assert "no score" in check(full).text()


def test_hostile_strings_are_text(tmp_path):
    make_pairs(tmp_path, clip=HOSTILE.replace("\x00", ""))
    data = {"root": f"/d/{HOSTILE}", "splits": {HOSTILE: 3}, "quarantined": 1}
    avc = {"accuracy": 0.5, "ci95": [0.4, 0.6], "split": HOSTILE, "step": 1}
    train = {"params_sha256": HOSTILE, "step": 1, "steps": HOSTILE}
    make_results(
        tmp_path, data=data, evaluate={"avc": avc, HOSTILE: {"accuracy": 0.7, "step": 2}}, train=train,
        command=HOSTILE, versions={HOSTILE: HOSTILE},
    )  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps({"system": HOSTILE + "\ud800", HOSTILE: [HOSTILE]}))
    row = {
        "step": 1,
        "train/loss": 1.0,
        f"evaluate/{HOSTILE.replace('/', '')}/accuracy": 0.5,
        HOSTILE: HOSTILE,
    }
    (tmp_path / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    bad = {"path": HOSTILE, "kind": HOSTILE, "reason": HOSTILE}
    (tmp_path / "quarantine.jsonl").write_text(json.dumps(bad) + "\n")
    page = check(tmp_path)
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "\u202e" not in source and "\x00" not in source
    assert "<script>alert" not in source and "<img src=x" not in source
    assert [attrs.get("type") for attrs in page.all("script")] == ["application/json"] * 2 + [None]
    assert "${css}" in page.text()
    assert "cannot be told from guessing" in page.text()


def test_page_of_large_pairs_is_small_enough(tmp_path):
    make_pairs(tmp_path, n=24, side=224, rate=48000)
    page = check(tmp_path)
    assert len(page.all("audio")) == 24


def test_sounds_are_left_out_when_they_would_not_fit(tmp_path):
    make_pairs(tmp_path, n=30, side=224, rate=400_000)
    page = check(tmp_path)
    assert 0 < len(page.all("audio")) < 24
    assert "Sound left out" in page.text() and "6 more pairs" in page.text()


def test_command(full, tmp_path_factory, capsys):
    assert command.main([f"--workdir={full}"]) == 0
    assert capsys.readouterr().out.strip() == str(full / "report.html")
    assert command.main([f"--workdir={full / 'absent'}"]) == errors.MissingInputError.exit_code == 66
    assert "does not exist" in capsys.readouterr().err
    assert command.main([f"--workdir={full / 'results.json'}"]) == 66
    assert command.main([]) == errors.ConfigError.exit_code
    taken = tmp_path_factory.mktemp("taken")
    (taken / "report.html").mkdir()
    assert command.main([f"--workdir={taken}"]) == errors.CannotWriteError.exit_code == 74
    assert "Cannot write" in capsys.readouterr().err
    assert [p.name for p in taken.iterdir()] == ["report.html"]


def test_module_runs_without_jax_or_early_matplotlib(tmp_path):
    code = (
        "import sys; from avc_jax.report import write; write(sys.argv[1]); "
        "sys.exit(any(m in sys.modules for m in ('jax', 'tensorflow', 'matplotlib')))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=REPO, check=True)
    run = subprocess.run(
        [sys.executable, "-m", "avc_jax.report", "--workdir=/no/such"], cwd=REPO, check=False
    )
    assert run.returncode == 66


def test_chart_helpers():
    assert charts.ticks(0, 1500, 4) == [0, 500, 1000, 1500]
    assert charts.ticks(0.4, 1.0, 4) == [0.4, 0.6, 0.8, 1.0]
    assert charts.running_mean([1.0, None, 3.0, 5.0], 1) == [1.0, None, 4.0, 4.0]
    y: list[float | None] = [0.0] * 5000
    y[1234] = 9.0
    thinned = charts.thin(range(5000), y)
    assert len(thinned) <= charts.MAX_POINTS + 1 and (1234, 9.0) in thinned and thinned[-1][0] == 4999
    axis = charts.Axis(0.0, 1.0)
    assert charts.path([(0, 0.0), (0.5, None), (1, 1.0)], axis, axis) == "M0.0 1000.0h0M1000.0 0.0h0"
    flat = charts.Chart("f", "F", "f", [charts.Series("s", [0], [0.0])])
    assert charts.y_axis(flat).high > charts.y_axis(flat).low


def test_a_spike_does_not_flatten_the_loss(tmp_path):
    rows = [{"step": s, "train/loss": 1e6 if s == 50 else 0.5} for s in range(1, 200)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    assert "drawn at the chart's upper edge" in check(tmp_path).text()


def test_spectrogram_has_low_frequencies_at_the_bottom():
    levels = np.zeros((8, 4), np.float32)
    levels[0] = 1
    data = base64.b64decode(pairs.png(levels).split(",")[1])
    image = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).sum(-1)
    assert image[-1].min() > image[:-1].max()


def test_silence_does_not_wash_out_the_colours():
    levels = np.full((2, 50, 10), -5.5, np.float32)
    levels[:, :25] = np.linspace(-1, 0.5, 25)[:, None]
    low, high = pairs.colour_scale(levels)
    assert high == pytest.approx(0.5, abs=0.1) and low == pytest.approx(high - 1.84, abs=0.01)


def test_formats():
    shown = [text.short(v) for v in (9504898, 96000, 1500, 0.6931, 0)]
    assert shown == ["9.5M", "96k", "1,500", "0.693", "0"]
    assert text.seconds(7500).replace(text.NBSP, " ") == "2 h 5 min"
    assert [text.number(v) for v in (True, "1", None, float("inf"), 10**400, 2)] == [None] * 5 + [2.0]
    assert curves.ci95({"ci95": [0.1, None]}) is None


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_renders_without_console_errors(full, tmp_path_factory):
    path = report.write(full)
    profile = tmp_path_factory.mktemp("profile")
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    )
    flags += " --disable-component-update --disable-sync --enable-logging=stderr --virtual-time-budget=2000"
    # A page that hangs is a failure; the limit only allows for a busy machine.
    run = subprocess.run(
        [CHROMIUM, *flags.split(), f"--user-data-dir={profile}", "--dump-dom", path.as_uri()],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert "CONSOLE" not in run.stderr
    assert "</html>" in run.stdout and "What it hears and sees" in run.stdout
