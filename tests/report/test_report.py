"""The report page: from full, partial, damaged and hostile work directories to a page that stands alone."""

import base64
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report.workdirs import (
    CLASSES,
    REPO,
    check,
    make_evaluations,
    make_metrics,
    make_pairs,
    make_pictures,
    make_quarantine,
    make_rankings,
    make_results,
    spot,
)

from avc_jax import errors
from avc_jax.report import __main__ as command
from avc_jax.report import charts, curves, media, read, space, text

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>$title${css}&amp;\x00\u202e"


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


def test_an_evaluation_of_a_run_that_recorded_nothing(full):
    (full / "metrics.jsonl").write_text("")
    assert "The numbers behind the curves" not in check(full).text()


def test_empty_folder(tmp_path):
    said = check(tmp_path).text()
    for expected in ("No held-out accuracy yet", "No curves yet", "No pairs yet", "No config.json"):
        assert expected in said
    assert "quarantined" not in said


@pytest.mark.parametrize("damage", [{}, {"step": "x", "new": 3, "missing": None, "loaded": []}])
def test_a_run_from_a_checkpoint_says_from_which(full, damage):
    results = json.loads((full / "results.json").read_text())
    results["init"] = dict(checkpoint="/runs/<first>", step=4000, loaded=80, new=["fusion/a"], missing=["b", "c"], unexpected=[],
                           other_shape=["d"]) | damage
    (full / "results.json").write_text(json.dumps(results))
    said = check(full).text()
    assert "It started from /runs/<first>, step" in said and "is the network at that start" in said
    assert damage or "step 4,000: 80 variables loaded, 1 new. 3 variables did not fit." in said


def test_time_is_shown_as_one_bar_whose_parts_add_up(full):
    page = check(full)
    styles = [span["style"] for span in page.all("span") if re.match("width:.*background", span.get("style") or "")]
    assert [float(style[6:].split("%")[0]) for style in styles] == [5.0, 10.0, 2.0, 65.0, 10.0, 3.0, 5.0]
    said = page.text()
    assert "6 min 40 s, in 2 starts of the command" in said
    assert "training 65.0 %, 4 min 20 s" in said and "done again after a kill 5.0 %, 20 s" in said


@pytest.mark.parametrize("goodput", [None, [], {"parts": {"step": "x", "lost": None}}, {"parts": 3, "processes": "y"}])
def test_without_a_ledger_of_time_there_is_no_bar(tmp_path, goodput):
    make_metrics(tmp_path)
    make_results(tmp_path, goodput=goodput)
    assert "Where the time went" not in check(tmp_path).text()


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
    make_pairs(tmp_path, n=30, side=224, seconds=20)
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
    data = base64.b64decode(media.spectrogram_image(levels).split(",")[1])
    image = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).sum(-1)
    assert image[-1].min() > image[:-1].max()


def test_silence_does_not_wash_out_the_colours():
    levels = np.full((2, 50, 10), -5.5, np.float32)
    levels[:, :25] = np.linspace(-1, 0.5, 25)[:, None]
    scale = media.colour_scale(levels)
    assert scale.high == pytest.approx(0.5, abs=0.1) and scale.low == pytest.approx(scale.high - 1.84, abs=0.01)
    assert scale(np.array([scale.low, scale.high, np.nan])).tolist() == [0, 1, 0]


def test_formats():
    shown = [text.short(v) for v in (9504898, 96000, 1500, 0.6931, 0)]
    assert shown == ["9.5M", "96k", "1,500", "0.693", "0"]
    assert text.seconds(7500).replace(text.NBSP, " ") == "2 h 5 min"
    assert [text.number(v) for v in (True, "1", None, float("inf"), 10**400, 2)] == [None] * 5 + [2.0]
    assert curves.ci95({"ci95": [0.1, None]}) is None


# What was learned -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def learned(full: Path) -> Path:
    """A work directory after a whole run with all evaluators."""
    make_evaluations(full)
    make_pictures(full)
    make_rankings(full)
    return full


def test_nothing_is_missing_from_a_page_with_everything(learned):
    assert not any(attrs.get("class") == "missing" for attrs in check(learned).all("p"))


def told(folder: Path) -> str:
    return check(folder).text().replace(text.NBSP, " ")


def test_scores_stand_beside_the_untrained_network_and_chance(learned):
    said = told(learned)
    for expected in (
        "ahead of the same network before its first step on 7 of 8 numbers",
        "It is not on: Recall at 1, sound to image.",
        "NMI of frames", "0.4090.2040.165", "2 times as much",
        "40.7 points better", "0.1 points worse", "better by 111",
        "was left out: no clip has a label.",
    ):  # fmt: skip
        assert expected in said


def test_transfer_is_told_in_words_and_as_a_matrix(learned):
    page = check(learned)
    said = page.text().replace(text.NBSP, " ")
    results = json.loads((learned / "results.json").read_text())["evaluate"]["transfer"]["trained"]
    confusion = np.array(results["confusion"])
    assert f"gives {100 * results['accuracy']:.1f} % of 480 sounds their class out of 12" in said
    assert "with those of the untrained network and 8.3 % by chance" in said
    wrong = confusion - np.diag(confusion.diagonal())
    true, taken = np.unravel_index(wrong.argmax(), wrong.shape)
    assert f"What is mistaken most: {CLASSES[true]} for {CLASSES[taken]} ({wrong.max()} of 40)" in said
    cells = [attrs["style"] for attrs in page.all("td") if "--share" in (attrs.get("style") or "")]
    assert len(cells) == (confusion > 0).sum()
    assert "5 folds" in said and "cost C" in said


def test_sheets_name_class_place_and_number(learned):
    page = check(learned)
    said = page.text().replace(text.NBSP, " ")
    assert said.count("86.0 % of these clips are of their unit's class; in the untrained network") == 2
    assert "Unit 3 bell 5 of 5" in said and "Unit 37 clock 3 of 5" in said
    alts = [attrs["alt"] for attrs in page.all("img")]
    assert sum("strongest at the middle" in alt or "strongest at the top" in alt or "strongest at the bottom" in alt
               for alt in alts) == 15 + 8
    assert sum(" s and " in alt and "kHz, 1 s across, 0 Hz to 4 kHz upwards" in alt for alt in alts) == 15


def test_neighbours_and_places_stand_beside_the_untrained_network(learned):
    said = told(learned)
    assert "of the clip's own class for 86.0 % of them, 34.0 % in the untrained network and 8.0 % by chance" in said
    assert "than to that of another clip for 78.7 % of the frames, 61.3 % in the untrained network and 50.0 % by chance" in said
    assert said.count("Untrained") == said.count("Trained") == 2 + 4


def test_every_direction_stands_beside_the_untrained_network_and_chance(learned):
    said = told(learned)
    for expected in (
        "Each clip asks with one half for its other half, among 232 clips.", "8 clips of 240 could not be asked, and count",
        "Equal scores: average.", "sound to video40.0 %39.0 % to 120.0 %untrained 2.0 %chance 0.4 %",
        "3.53 to 4.5untrained 3.5chance 116.5", "bell, sound to video", "precision at 10", "mean of 3 words40.0 %chance 10.0 %",
        "video to sound own clip at 1", "asks this is a bell",
    ):  # fmt: skip
        assert expected in said
    assert "video to video" not in said


def test_concepts_stand_beside_the_untrained_network_and_shuffled_words(learned):
    said = told(learned)
    assert "9 dimensions of 512 do, for 7 different words; 1 in the untrained network and 0.4 with shuffled words." in said
    assert "bell dimension 3 F1 0.80" in said and "\N{CHECK MARK} 4.00 this is a bell" in said


def test_headline_of_a_system_that_judges_no_pairs(full):
    make_evaluations(full)
    results = json.loads((full / "results.json").read_text())
    del results["evaluate"]["avc"]
    (full / "results.json").write_text(json.dumps(results))
    (full / "metrics.jsonl").unlink()
    said = told(full)
    assert "40.0 %of held-out clips find their other half first, sound to video (R@1)." in said
    assert "232 held-out clips \N{MIDDLE DOT} untrained 2.0 % \N{MIDDLE DOT} chance 0.4 % \N{MIDDLE DOT} step 60" in said


def test_what_is_not_there_says_what_to_do(full):
    said = told(full)
    for expected in ("scores", "transfer task", "units", "map of the embeddings", "places of sounds", "concepts of dimensions"):
        assert f"No {expected} yet" in said
    results = json.loads((full / "results.json").read_text())
    results["evaluate"]["pictures"] = {"trained": {"clips": 9}}
    (full / "results.json").write_text(json.dumps(results))
    assert "compares whole frames with whole sounds" in told(full)


def test_only_the_trained_network_is_there(learned):
    for path in (learned / "pictures").glob("*_untrained.npz"):
        path.unlink()
    results = json.loads((learned / "results.json").read_text())
    for found in results["evaluate"].values():
        found.pop("untrained", None)
        for row in found.get("rows", []):
            row["untrained"] = row["chance"] = None
    (learned / "results.json").write_text(json.dumps(results))
    said = told(learned)
    assert "no numbers of the untrained network to compare with" in said and "for 86.0 % of them, 8.0 % by chance." in said


@pytest.mark.parametrize("labels", [("",), tuple(f"class {k}" for k in range(60)), (HOSTILE.replace("\x00", ""), "b")],
                         ids=["none", "many", "hostile"])
def test_any_labels(full, labels):
    make_pictures(full, labels=labels)
    make_evaluations(full, classes=labels)
    said = told(full)
    assert "Only what is near means something" in said
    assert ("The clips have no labels" in said) == (labels == ("",))
    assert "<script>alert" not in (full / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["units_video", "units_audio", "space_trained", "localisation_trained", "retrieval",
                                  "retrieval_media", "dimensions", "dimensions_media"])
def test_damaged_arrays_are_told(learned, name):
    path = learned / f"pictures/{name}.npz"
    with np.load(path) as stored:
        arrays = dict(stored)
    path.write_bytes(path.read_bytes()[:300])
    assert f"pictures/{name}.npz could not be read" in told(learned)
    first = next(key for key, value in arrays.items() if value.ndim > 1)
    np.savez(path, **(arrays | {first: arrays[first][..., None]}))
    assert f"pictures/{name}.npz holds arrays of unexpected shapes." in told(learned)
    np.savez(path, **(arrays | {key: np.full_like(value, np.nan) for key, value in arrays.items() if key in ("heat", "video")}))
    told(learned)


@pytest.mark.parametrize("damage", [
    {"accuracy": 0.5, "classes": ["a"], "confusion": [[1, 2]]}, {"accuracy": 0.5, "classes": ["a"], "confusion": [["x"]]},
    {"accuracy": 0.5, "classes": ["a"], "confusion": [[-1]]}, {"accuracy": "x", "classes": 3}, 7,
])  # fmt: skip
def test_damaged_results_of_evaluators(full, damage):
    make_results(full, evaluate={"transfer": {"trained": damage, "untrained": damage, "rows": [3, {"name": None}]},
                                 "pictures": {"trained": {"units": 3, "neighbours": []}, "rows": 4},
                                 "dimensions": {"trained": {"concepts": 3, "different": "x"}, "untrained": 4},
                                 "retrieval": {"trained": {"by_word": {"c": {"words": [{"precision": "x"}, 3]}, "d": 3},
                                                           "directions": {
                                     "a": damage, "b": {"median_rank": 2, "recall": damage, "interval": {"median_rank": [1]}}}}}})
    assert "No transfer task yet" in told(full)


def test_page_of_large_pictures_is_small_enough(learned):
    def loud(number):
        rng = np.random.default_rng(number)
        return rng.integers(0, 256, (224, 224, 3), dtype=np.uint8), rng.integers(-32768, 32768, 48000, dtype=np.int16)

    make_pictures(learned, loud, units=10, shown=24)
    make_rankings(learned, loud, rankings=24)
    make_pairs(learned, n=24, side=224, rate=48000)
    assert "left out to keep the page small" in told(learned)


def test_marks_differ_where_colours_repeat():
    looks = [(space.colour(place), space.shape(place)) for place in range(48)]
    assert len(set(looks)) == 48


def test_outline_is_around_what_is_strong():
    path = media.outline(spot(48, 48, (0.25, 0.75), 0.1))
    numbers = np.array([[float(v) for v in pair.split()] for pair in path.strip("M").split("L")])
    np.testing.assert_allclose(numbers.mean(0), [36, 12], atol=0.5)
    radius = np.hypot(*(numbers - [36, 12]).T)
    np.testing.assert_allclose(radius, 48 * 0.1 * np.sqrt(2 * np.log(2)), atol=0.3)
    assert media.outline(np.zeros((4, 4))) == ""
    assert media.outline(np.ones((4, 4))) == ""
    corner = media.outline(spot(48, 48, (0, 0), 0.2))  # a line from edge to edge, not along them
    assert corner.startswith("M") and {corner.strip("M").split("L")[0].split()[1], corner.split("L")[-1].split()[1]} & {"0.0"}


def test_heat_is_dark_where_it_is_not_and_clear_where_it_is():
    markup = media.heat(spot(64, 64, (0.25, 0.75), 0.1))
    data = base64.b64decode(markup.split("base64,")[1].split('"')[0])
    alpha = np.asarray(Image.open(io.BytesIO(data)).convert("LA"))[..., 1]
    assert alpha.shape == (50, 50)  # one more than it shows on every side
    assert np.unravel_index(alpha.argmin(), alpha.shape) == pytest.approx((13, 37), abs=1)
    assert alpha.min() < 20 and alpha[40, 5] > 150


@pytest.mark.parametrize("rate", [8000, 11000, 16000, 44100, 96000])
def test_sound_keeps_its_time_and_pitch(rate):
    import av

    times = np.arange(rate) / rate
    burst = 0.5 * np.sin(2 * np.pi * 1000 * times) * ((times > 0.4) & (times < 0.6))
    uri = media.mp3((burst * 32767).astype(np.int16), rate)
    assert len(uri) < 16_000
    with av.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))) as container:
        heard = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
        found = container.streams.audio[0].rate
    assert len(heard) / found == pytest.approx(1.0, abs=0.01)
    loud = np.flatnonzero(np.abs(heard) > 0.25)[[0, -1]] / found
    np.testing.assert_allclose(loud, [0.4, 0.6], atol=0.005)
    assert np.abs(np.fft.rfft(heard)).argmax() * found / len(heard) == pytest.approx(1000, abs=5)


def test_axes_of_linear_and_of_mel_spectrograms():
    places = media.Axes(np.linspace(0, 24000, 257), 1.0).frequencies()
    assert [label for _, label in places] == ["0", "10", "20"]
    np.testing.assert_allclose([at for at, _ in places], [(bin + 0.5) / 257 for bin in (0, 10 / 24 * 256, 20 / 24 * 256)])
    mel = media.Axes(700 * (10 ** (np.linspace(60, 3800, 128) / 2595) - 1), 1.0)
    places = mel.frequencies()
    assert [label for _, label in places][-1] == "16" and "1" in [label for _, label in places]
    assert (np.diff([at for at, _ in places]) > 0.15).all()
