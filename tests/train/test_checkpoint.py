"""A checkpoint comes back bit for bit or not at all, and there is always one to go back to."""

import contextlib
import json
import resource
import shutil
import time

import jax
import jax.numpy as jnp
import pytest
from train.small import bits, restore, save, state_at, template_of

from avc_jax import errors
from avc_jax.parallel import mesh as meshes
from avc_jax.train import checkpoint
from avc_jax.train.checkpoint import Checkpoints


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with checkpoints of steps 1, 2 and 3; copy it."""
    folder = tmp_path_factory.mktemp("saved")
    save(folder, 1, 2, 3)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "run")
    return tmp_path / "run"


def largest(folder, step):
    files = [path for path in (folder / "checkpoints" / str(step)).rglob("*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size)


# Whole --------------------------------------------------------------------------------------------------------------------


def test_newest_checkpoint_comes_back_bit_for_bit(folder):
    assert bits(restore(folder)) == bits(state_at(3))


@pytest.mark.parametrize(("data", "fsdp", "tensor"), [(2, 4, 1), (1, 8, 1), (2, 2, 2), (1, 1, 8)])
def test_checkpoint_comes_back_bit_for_bit_on_another_mesh(folder, data, fsdp, tensor):
    mesh = meshes.make_mesh(data, fsdp, tensor=tensor)
    template = template_of(state_at(1), mesh)
    found = restore(folder, template)
    assert bits(found) == bits(state_at(3))
    assert found.params["dense"]["kernel"].sharding == template.params["dense"]["kernel"].sharding
    assert found.params["dense"]["kernel"].addressable_shards[0].data.size == 64 * 512 // (fsdp * tensor)


def test_state_without_average_comes_back_without(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.finish(state_at(1, ema=False))
    found = checkpoints.restore_newest_valid(template_of(state_at(1, ema=False)))
    checkpoints.close()
    assert found.ema is None
    assert bits(found) == bits(state_at(1, ema=False))


def test_no_checkpoint_is_none(tmp_path):
    assert restore(tmp_path) is None


def test_saving_a_step_again_changes_nothing(folder):
    before = (folder / "checkpoints" / "digests" / "3.json").read_text()
    checkpoints = Checkpoints(folder, keep=9)
    checkpoints.finish(state_at(3))
    checkpoints.close()
    assert (folder / "checkpoints" / "digests" / "3.json").read_text() == before


def test_what_is_saved_is_the_state_of_that_moment(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    state = state_at(5)
    wanted = bits(state)
    checkpoints.save(state)
    jax.tree.map(lambda leaf: leaf.delete(), state)  # as a donating step does
    checkpoints.close()
    assert bits(restore(tmp_path)) == wanted


# Damaged ------------------------------------------------------------------------------------------------------------------


def truncate(folder):
    path = largest(folder, 3)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(folder):
    path = largest(folder, 3)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def remove_a_file(folder):
    largest(folder, 3).unlink()


def add_a_file(folder):
    (folder / "checkpoints" / "3" / "stray").write_text("x")


def remove_the_digest(folder):
    (folder / "checkpoints" / "digests" / "3.json").unlink()


def cut_the_digest(folder):
    path = folder / "checkpoints" / "digests" / "3.json"
    path.write_text(path.read_text()[:50])


def empty_the_digest(folder):
    (folder / "checkpoints" / "digests" / "3.json").write_text("[]")


DAMAGE = {"truncated": truncate, "one bit": flip_a_bit, "file missing": remove_a_file, "file too many": add_a_file,
          "no digest": remove_the_digest, "digest cut": cut_the_digest, "digest of another kind": empty_the_digest}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_newest_is_set_aside_with_a_warning_and_the_one_before_is_used(folder, damage, caplog):
    damage(folder)
    before = sorted(path.name for path in (folder / "checkpoints" / "3").rglob("*"))
    assert bits(restore(folder)) == bits(state_at(2))
    assert any("Checkpoint 3 is not used" in record.getMessage() for record in caplog.records)
    assert not (folder / "checkpoints" / "3").exists()
    assert sorted(path.name for path in (folder / "checkpoints" / "damaged" / "3").rglob("*")) == before
    assert bits(restore(folder)) == bits(state_at(2))  # and again, without a word
    assert sum("not used" in record.getMessage() for record in caplog.records) == 1


def test_step_can_be_saved_again_after_its_damaged_one_was_set_aside(folder):
    flip_a_bit(folder)
    checkpoints = Checkpoints(folder, keep=9)
    assert int(checkpoints.restore_newest_valid(template_of(state_at(1))).step) == 2
    checkpoints.finish(state_at(3))
    checkpoints.close()
    assert bits(restore(folder)) == bits(state_at(3))


def test_set_aside_twice_keeps_both(folder):
    for _ in range(2):
        flip_a_bit(folder)
        restore(folder)
        save(folder, 3)
    kept = [path for path in (folder / "checkpoints" / "damaged").iterdir() if path.name.startswith("3")]
    assert len(kept) == 2


def test_none_whole_is_an_error_that_lists_them(folder):
    for step in (1, 2, 3):
        (folder / "checkpoints" / "digests" / f"{step}.json").unlink()
    with pytest.raises(errors.ConfigError) as caught:
        restore(folder)
    for step in (1, 2, 3):
        assert f"step {step}: it has no digest" in str(caught.value)


def test_first_save_of_all_that_was_killed_before_its_digest_counts_as_none(folder):
    for step in (1, 2):
        shutil.rmtree(folder / "checkpoints" / str(step))
    (folder / "checkpoints" / "digests" / "3.json").unlink()
    assert restore(folder) is None


def test_reader_that_may_not_write_changes_nothing(folder):
    flip_a_bit(folder)
    before = sorted(str(path) for path in folder.rglob("*"))
    assert bits(restore(folder, read_only=True)) == bits(state_at(2))
    assert sorted(str(path) for path in folder.rglob("*")) == before


# Another model --------------------------------------------------------------------------------------------------------------


def test_checkpoint_of_another_model_names_the_arrays_that_differ_and_stays(folder):
    with pytest.raises(errors.ConfigError) as caught:
        restore(folder, template_of(state_at(1, width=256)))
    text = str(caught.value)
    assert "params/dense/kernel: checkpoint (64, 512), config (64, 256)" in text
    assert "bias" not in text
    assert bits(restore(folder)) == bits(state_at(3))


def test_checkpoint_with_fewer_arrays_names_those_it_has_not(folder, tmp_path):
    with pytest.raises(errors.ConfigError, match=r"ema/dense/kernel: checkpoint \(64, 512\), config has none"):
        restore(folder, template_of(state_at(1, ema=False)))


# Housekeeping ------------------------------------------------------------------------------------------------------------------


def test_leftovers_of_killed_saves_are_removed_at_the_start(folder):
    leftover = folder / "checkpoints" / "4.orbax-checkpoint-tmp-1234"
    leftover.mkdir()
    (leftover / "half").write_text("x")
    restore(folder)
    assert not leftover.exists()


def test_only_the_newest_are_kept_and_digests_with_them(tmp_path):
    save(tmp_path, *range(1, 7), keep=2)
    names = lambda folder: sorted(path.stem for path in (tmp_path / "checkpoints" / folder).iterdir() if path.stem.isdigit())  # noqa: E731
    assert names(".") == names("digests") == ["5", "6"]
    assert bits(restore(tmp_path)) == bits(state_at(6))


def test_every_step_has_a_digest_of_each_of_its_files(saved):
    for step in (1, 2, 3):
        folder = saved / "checkpoints" / str(step)
        files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        assert set(json.loads((saved / "checkpoints" / "digests" / f"{step}.json").read_text())) == files


def test_steps_are_listed_oldest_first(saved):
    checkpoints = Checkpoints(saved, keep=9)
    assert checkpoints.steps() == [1, 2, 3]
    checkpoints.close()


def test_folder_that_cannot_be_made_is_cannot_write(tmp_path):
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(errors.CannotWriteError, match="checkpoints cannot be written"):
        Checkpoints(tmp_path)


# Failing ------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def full(monkeypatch):
    """A context manager in which files cannot become large, as on a full disk; there is little patience with it."""
    monkeypatch.setattr(checkpoint, "_PAUSES_S", (0.01, 0.02, 0.03))

    @contextlib.contextmanager
    def limit():
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    return limit


@pytest.fixture
def checkpoints(folder):
    made = Checkpoints(folder, keep=1)
    assert made.newest_valid() == 3
    yield made
    made.close()


def wait_for(holds):
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize(("patient", "tries"), [(True, 4), (False, 1)])
def test_save_that_fails_is_tried_again_and_ends_as_cannot_write_with_earlier_ones_intact(folder, full, checkpoints, caplog,
                                                                                         patient, tries):
    with full(), pytest.raises(errors.CannotWriteError, match="Earlier checkpoints are untouched"):
        checkpoints.finish(state_at(4), patient=patient)
    assert caplog.text.count("Trying again") == tries - 1
    assert checkpoints.steps() == [1, 2, 3]
    assert bits(restore(folder)) == bits(state_at(3))


def test_failed_save_is_noticed_without_waiting_for_the_next_and_succeeds_when_there_is_room(folder, full, checkpoints):
    with full():
        checkpoints.save(state_at(4))
        wait_for(checkpoints.must_retry)
    checkpoints.save(state_at(5))
    wait_for(lambda: (folder / "checkpoints" / "digests" / "5.json").exists())
    assert not checkpoints.must_retry()
    assert bits(restore(folder)) == bits(state_at(5))


def test_digest_that_cannot_be_written_is_a_failed_save(folder, full, checkpoints):
    (folder / "checkpoints" / "digests" / "4.tmp").mkdir()
    checkpoints.save(state_at(4))
    wait_for(checkpoints.must_retry)
    checkpoints.finish(state_at(4))  # what failed was removed
    assert bits(restore(folder)) == bits(state_at(4))


def test_step_is_finished_without_anybody_waiting_for_it(folder, checkpoints):
    checkpoints.save(state_at(4))
    wait_for(lambda: (folder / "checkpoints" / "digests" / "4.json").exists())
    wait_for(lambda: checkpoints.steps() == [4])  # and only then the one before goes


def test_state_that_is_not_finite_is_never_saved(folder, checkpoints):
    state = state_at(4)
    bad = state.replace(params=jax.tree.map(lambda leaf: leaf.at[0].set(jnp.inf), state.params))
    with pytest.raises(errors.DivergedError, match="not finite after step 4"):
        checkpoints.save(bad)
    assert checkpoints.steps()[-1] == 3


def test_slow_storage_is_told_of_once(folder, checkpoints, monkeypatch, caplog):
    monkeypatch.setattr(checkpoint, "_PATIENCE_S", 0.05)
    monkeypatch.setattr(checkpoint, "_digest", lambda folder: time.sleep(0.5) or {})
    signs = []
    monkeypatch.setattr(checkpoints, "_on_wait", lambda: signs.append(1))  # of life, for the watchdog
    for step in (4, 5, 6):
        checkpoints.save(state_at(step))
    assert caplog.text.count("is slow. A larger config.train.checkpoint_every") == 1
    assert len(signs) > 5


def test_old_checkpoint_that_cannot_be_removed_is_no_failed_save(folder, checkpoints, monkeypatch, caplog):
    def stale(path):
        raise OSError(116, "Stale file handle", str(path))

    monkeypatch.setattr(checkpoint.shutil, "rmtree", stale)
    checkpoints.finish(state_at(4), patient=False)
    assert "cannot be removed" in caplog.text
    assert bits(restore(folder)) == bits(state_at(4))
