"""Another disk keeps the state where the work directory cannot, and whichever place is newer is resumed from."""

import contextlib

import pytest
from train.small import bits, save, state_at, template_of

from avc_jax import errors
from avc_jax.train.checkpoint import Checkpoints
from avc_jax.train.emergency import Emergency, restore_newest

ERROR = errors.CannotWriteError("The work directory is full.")


def restore(workdir, emergency):
    with contextlib.closing(Checkpoints(workdir)) as checkpoints:
        return restore_newest(checkpoints, emergency, template_of(state_at(1)))


@pytest.fixture
def emergency(tmp_path):
    return Emergency(str(tmp_path / "other"), "id")


def test_newer_of_both_places_comes_back_bit_for_bit(tmp_path, emergency):
    save(tmp_path, 4)
    error = emergency.save(state_at(5), ERROR)
    assert "The work directory is full. Step 5 is kept in" in str(error) and error.exit_code == 74
    assert bits(restore(tmp_path, emergency)) == bits(state_at(5))
    save(tmp_path, 6)
    assert bits(restore(tmp_path, emergency)) == bits(state_at(6))


def test_copy_alone_is_enough(tmp_path, emergency):
    emergency.save(state_at(5), ERROR)
    assert bits(restore(tmp_path, emergency)) == bits(state_at(5))


def test_second_copy_replaces_the_first(tmp_path, emergency):
    emergency.save(state_at(5), ERROR)
    emergency.save(state_at(7), ERROR)
    assert [path.name for path in (tmp_path / "other" / "avc_jax-id" / "checkpoints" / "digests").iterdir()] == ["7.json"]


def test_damaged_copy_is_told_of_and_not_used(tmp_path, emergency, caplog):
    save(tmp_path, 4)
    emergency.save(state_at(5), ERROR)
    victim = max((tmp_path / "other").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    victim.write_bytes(victim.read_bytes()[:-1])
    assert bits(restore(tmp_path, emergency)) == bits(state_at(4))
    assert "The emergency copy is not used" in caplog.text and "damaged" in caplog.text


def test_checkpoints_that_are_all_damaged_are_refused_unless_there_is_a_copy(tmp_path, emergency):
    save(tmp_path, 4)
    (tmp_path / "checkpoints" / "digests" / "4.json").write_text("[]")
    with pytest.raises(errors.ConfigError, match="No checkpoint in"):
        restore(tmp_path, emergency)
    emergency.save(state_at(5), ERROR)
    assert bits(restore(tmp_path, emergency)) == bits(state_at(5))


def test_copy_of_another_run_is_not_found(tmp_path, emergency):
    emergency.save(state_at(5), ERROR)
    assert restore(tmp_path, Emergency(str(tmp_path / "other"), "another")) is None


def test_without_a_folder_nothing_is_kept(tmp_path):
    none = Emergency("", "id")
    assert not none
    assert none.save(state_at(5), ERROR) is ERROR
    assert restore(tmp_path, none) is None


def test_folder_that_cannot_be_made_is_told_at_the_start(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.CannotWriteError, match=r"config\.train\.emergency_folder"):
        Emergency(str(tmp_path / "file" / "other"), "id")


def test_copy_that_fails_too_is_told_with_what_failed_first(tmp_path, emergency):
    (tmp_path / "other" / "avc_jax-id").write_text("a file")
    error = emergency.save(state_at(5), ERROR)
    assert str(error).startswith("The work directory is full. Nor is there an emergency copy: ")


def test_copy_is_removed_when_it_is_not_needed_any_more(tmp_path, emergency):
    emergency.save(state_at(5), ERROR)
    emergency.remove()
    assert not list((tmp_path / "other").iterdir())
