"""The work directory belongs to one run and one config, and its files are whole at any moment."""

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
import threading

import pytest
import tiny

from avc_jax import config as configs
from avc_jax import errors
from avc_jax.train.workdir import Workdir, read_json


@pytest.fixture
def workdir(tmp_path):
    made = Workdir(str(tmp_path / "deep" / "run"))
    yield made
    made.close()


def test_folder_is_made_and_names_its_process(workdir):
    assert workdir.path.is_dir()
    assert (workdir.path / "lock").read_text().split()[:2] == [str(os.getpid()), socket.gethostname()]


def test_second_run_in_the_same_folder_is_refused_while_the_first_runs(workdir):
    with pytest.raises(errors.ConfigError, match=rf"in use by another run \(process {os.getpid()}\)"):
        Workdir(str(workdir.path))
    workdir.close()
    Workdir(str(workdir.path)).close()


def test_lock_of_another_machine_is_waited_for_and_then_worth_another_try(workdir, monkeypatch, caplog):
    (workdir.path / "lock").write_text("17 node3 other-boot")
    monkeypatch.setattr("avc_jax.train.workdir._HELD_S", 0.2)
    monkeypatch.setattr("avc_jax.train.workdir._POLL_S", 0.05)
    with pytest.raises(errors.Stopped, match=r"in use by another run \(process 17 on node3\)"):
        Workdir(str(workdir.path))
    assert caplog.text.count("Waiting up to") == 1
    monkeypatch.setattr("avc_jax.train.workdir._HELD_S", 60.0)
    threading.Timer(0.2, workdir.close).start()
    Workdir(str(workdir.path)).close()


def test_folder_without_locks_is_told_from_one_in_use(tmp_path, monkeypatch):
    def flock(*args):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(errors.CannotWriteError, match=r"cannot be locked \(No locks available\)"):
        Workdir(str(tmp_path))


def test_lock_ends_with_its_process_however_it_ended(tmp_path):
    code = "import sys, os; from avc_jax.train.workdir import Workdir; w = Workdir(sys.argv[1]); os.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -9
    assert (tmp_path / "lock").read_text()
    Workdir(str(tmp_path)).close()


def test_folder_that_is_not_named_is_asked_for():
    with pytest.raises(errors.ConfigError, match="--workdir is missing"):
        Workdir("")


@pytest.mark.parametrize("name", ["file", "file/run"])
def test_folder_that_cannot_be_made_is_cannot_write(tmp_path, name):
    (tmp_path / "file").write_text("x")
    with pytest.raises(errors.CannotWriteError, match=rf"--workdir=.*{name} cannot be written"):
        Workdir(str(tmp_path / name))


# Claims ---------------------------------------------------------------------------------------------------------------------


def test_claim_records_the_config_and_the_clips(workdir):
    config = tiny.config()
    workdir.claim(config, "digest")
    assert workdir.read("config.json") == configs.to_dict(config)
    assert workdir.read("data.json") == {"clips_sha256": "digest", "run": workdir.run_id}


def test_every_run_has_an_id_of_its_own_that_stays(workdir, tmp_path):
    assert workdir.run_id == ""
    workdir.claim(tiny.config(), "digest")
    first = workdir.run_id
    workdir.claim(tiny.config(), "digest")
    other = Workdir(str(tmp_path / "other"))
    other.claim(tiny.config(), "digest")
    other.close()
    assert len(first) == 16 and workdir.run_id == first != other.run_id


def test_same_run_may_claim_again_also_with_keys_that_are_free(workdir):
    workdir.claim(tiny.config(), "digest")
    longer = tiny.config(train__steps=7, data__root="/elsewhere")
    workdir.claim(longer, "digest")
    assert workdir.read("config.json") == configs.to_dict(longer)


def test_run_with_another_config_is_refused_line_by_line_and_changes_nothing(workdir):
    workdir.claim(tiny.config(), "digest")
    with pytest.raises(errors.ConfigError) as caught:
        workdir.claim(tiny.config(optimizer__lr=0.5, train__seed=3, train__steps=9), "digest")
    lines = str(caught.value).splitlines()
    assert "  config.optimizer.lr: was 0.0001, is 0.5" in lines
    assert "  config.train.seed: was 0, is 3" in lines
    assert not any("steps" in line for line in lines)
    assert workdir.read("config.json") == configs.to_dict(tiny.config())


def test_run_on_other_clips_is_refused(workdir):
    workdir.claim(tiny.config(), "digest")
    with pytest.raises(errors.ConfigError, match="the videos: files or splits were added, removed or renamed"):
        workdir.claim(tiny.config(), "other")
    assert workdir.read("data.json")["clips_sha256"] == "digest"


@pytest.mark.parametrize(("change", "fits"), [
    ({"system__width": 1 / 8}, False), ({"audio__stft_hop_s": 0.01}, False), ({"data__frame_size": 24}, False),
    ({"data__frame_short_side": 40}, False), ({"data__window_s": 1.0}, False), ({"optimizer__lr": 0.5}, True),
    ({"data__split": "all"}, True), ({"train__batch_size": 4}, True), ({"evaluate__seed": 4}, True)])
def test_evaluation_may_change_all_but_the_network_and_its_inputs(workdir, change, fits):
    workdir.claim(tiny.config(), "digest")
    if fits:
        workdir.check_network(tiny.config(**change))
        return
    (path,) = change
    with pytest.raises(errors.ConfigError, match=rf"of another network:\n  config\.{path.replace('__', '.')}: was"):
        workdir.check_network(tiny.config(**change))


# Files ------------------------------------------------------------------------------------------------------------------------


def test_results_keep_the_sections_that_are_not_replaced(workdir):
    workdir.update_results(train={"step": 1, "old": True}, data={"clips": 3})
    workdir.update_results(train={"step": 2})
    assert workdir.read("results.json") == {"train": {"step": 2}, "data": {"clips": 3}}


def test_file_is_replaced_as_a_whole(workdir):
    workdir.write("a.json", {"x": 1})
    with open(workdir.path / "a.json") as reader:
        workdir.write("a.json", {"x": 2})
        assert json.load(reader) == {"x": 1}  # who was reading goes on with the old one
    assert workdir.read("a.json") == {"x": 2}
    assert sorted(path.name for path in workdir.path.iterdir()) == ["a.json", "lock"]


def test_write_that_fails_is_cannot_write(workdir):
    (workdir.path / "a.json").mkdir()
    with pytest.raises(errors.CannotWriteError, match=r"a\.json cannot be written"):
        workdir.write("a.json", {})


def test_missing_file_reads_as_empty_and_a_damaged_one_is_said(workdir):
    assert workdir.read("a.json") == {}
    (workdir.path / "a.json").write_text('{"x": ')
    with pytest.raises(errors.ConfigError, match=r"a\.json is damaged"):
        read_json(workdir.path / "a.json")


@pytest.mark.parametrize("text", ["3", "[]", '"a"', "null", "[" * 100_000, "{"])
def test_file_that_is_no_object_is_damaged(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(errors.ConfigError, match=r"a\.json is damaged"):
        read_json(tmp_path / "a.json")
