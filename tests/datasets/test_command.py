"""python -m avc_jax.datasets: what it prints and writes, and how it ends."""

import layouts
import pytest
from end_to_end import here

from avc_jax.datasets import kinetics_sounds, manifest


def run(*args, expect=0) -> str:
    return here.call("avc_jax.datasets.__main__", *args, expect=expect)


def test_manifest_is_written_with_counts_and_what_is_missing_is_told(tmp_path):
    root = layouts.make_kinetics_sounds(tmp_path / "ks")
    whole = manifest.to_csv(kinetics_sounds.read(root), "split")
    printed = run("--name=kinetics_sounds", f"--root={root}", f"--out={root / 'manifest.csv'}")
    assert (root / "manifest.csv").read_text() == whole
    assert "30 classes without a clip: blowing nose" in printed and f"Wrote {root / 'manifest.csv'}" in printed
    (root / "test" / "ddddddddddd.mp4").unlink()
    run("--name=kinetics_sounds", f"--root={root}", f"--out={root / 'manifest.csv'}", expect=66)
    assert (root / "manifest.csv").read_text() == whole, "a failure must leave the old manifest"
    printed = run("--name=kinetics_sounds", f"--root={root}", f"--out={root / 'manifest.csv'}", "--missing_budget=0.3")
    assert "1 of 5 listed files are missing: test/ddddddddddd_000007_000017.mp4" in printed
    assert (root / "manifest.csv").read_text() == "".join(line for line in whole.splitlines(True) if "ddd" not in line)


def test_manifest_of_sounds_has_a_column_of_folds(tmp_path):
    root = layouts.make_esc50(tmp_path / "esc")
    printed = run("--name=esc50", f"--root={root}", "--variant=esc10", f"--out={tmp_path / 'm.csv'}")
    assert (tmp_path / "m.csv").read_text().splitlines()[:2] == ["path,fold,label,start_s,end_s", "audio/1-1001-A-0.wav,1,dog,,"]
    assert printed.splitlines()[1].split() == ["dog", *"11111"]


def test_items_are_counted_and_the_flags_to_train_with_are_printed(tmp_path):
    root = layouts.make_youcook2(tmp_path / "data")
    printed = run("--name=msrvtt", f"--root={root}", "--variant=9k")
    assert printed.splitlines()[0].split() == ["test", "train"] and printed.splitlines()[1].split() == ["all", "2", "3"]
    assert "Of 5 items, 5 have words and 4 have sound." in printed and "1 of the 5 clips have no sound" in printed
    assert ("Train and evaluate with --config.data.source=clip_pickles --config.data.sound=spectrogram "
            f"--config.data.evaluate_split=test --config.data.root={root} "
            "--config.data.manifest=msrvtt_1k-A_train.pkl,msrvtt_jsfusion_test.pkl --config.data.pairing=none") in printed
    assert "needs no manifest" in run("--name=msrvtt", f"--root={root}", f"--out={root / 'm.csv'}", expect=64)


def test_manifest_of_films_names_the_features_that_are_there(tmp_path):
    root = layouts.make_howto100m(tmp_path / "features")
    (root / "food/video_a/aaaaaaaaaaa_2d.npz").unlink()
    printed = run("--name=howto100m", f"--root={root}", "--table=paths.csv", "--missing_budget=0.5",
                  f"--out={root / 'films.csv'}")
    assert "1 of 3 listed files are missing: food/video_a/aaaaaaaaaaa_2d.npz" in printed
    assert f"--config.data.manifest={root / 'films.csv'}" in printed
    assert (root / "films.csv").read_text().splitlines()[1:] == [
        "food/video_b/bbbbbbbbbbb,train,,,", "pets/video_c/ccccccccccc/ccccccccccc,train,,,"]


@pytest.mark.parametrize(("args", "code", "words"), [
    (("--name=youcook2", "--root={tmp}"), 66, "docs/datasets/youcook2.md says how to lay out"),
    (("--name=crosstask", "--root={tmp}", "--seed=3"), 64, "--name=crosstask does not know this flag"),
    (("--root={tmp}",), 64, "--name is missing"), (("--name=esc50",), 64, "--root is missing"),
    (("--name=esc51", "--root={tmp}"), 64, "should be one of <esc50|"),
    (("--name=esc50", "--root={tmp}", "--missing_budget=0.1"), 64, "--name=esc50 does not know this flag"),
    (("--name=labelled_audio", "--root={tmp}", "--seed=1"), 64, "--seed=1"),
    (("--name=esc50", "--root={tmp}", "--variant=esc20"), 64, "expected one of esc50, esc10"),
    (("--name=esc50", "--root={tmp}/none"), 66, "found no folder"),
    (("--name=labelled_audio", "--root={tmp}"), 65, "x.wav has no label"),
    (("--name=labelled_audio", "--root={tmp}", "--table=good.csv", "--out={tmp}/none/m.csv"), 74, "cannot be written")])
def test_bad_input_is_told_in_words_and_by_exit_code(tmp_path, args, code, words):
    layouts.tone(tmp_path / "x.wav")
    layouts.write(tmp_path / "labels.csv", "path,label", "x.wav,")
    layouts.write(tmp_path / "good.csv", "path,label", "x.wav,a")
    assert words in run(*(arg.format(tmp=tmp_path) for arg in args), expect=code)
