"""Checkpoints that were damaged, or are not of this model, or were saved on other devices."""

import random
import shutil

import pytest
from faults import process
from train.small import bits, restore, save, state_at, template_of

from avc_jax import errors
from avc_jax.parallel import mesh as meshes


def damage(folder, chance: random.Random) -> str:
    """Damages one file of a checkpoint, and says how."""
    path = chance.choice(sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size))
    kind = chance.choice(["bit", "cut", "gone"])
    content = bytearray(path.read_bytes())
    if kind == "bit":
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)
    elif kind == "cut":
        path.write_bytes(content[: chance.randrange(len(content))])
    else:
        path.unlink()
    return kind


@pytest.mark.fault("damage", "the two newest damaged: a bit flipped, a file cut short or gone")
def test_damaged_checkpoints_are_named_and_the_one_before_is_used(cache, videos, unbroken, tmp_path, draw, note):
    workdir, chance = tmp_path / "run", random.Random(draw)
    shutil.copytree(unbroken, workdir)
    for step in (9, 6):
        note(damage(workdir / "checkpoints" / str(step), chance))
    printed = process.run(cache, *process.TRAIN, f"--workdir={workdir}", f"--config.data.root={videos}").printed
    assert "Checkpoint 9 is not used" in printed and "Checkpoint 6 is not used" in printed and "Resuming at step 3." in printed
    assert process.params_sha256(workdir) == process.params_sha256(unbroken)
    assert {"9", "6"} <= {path.name for path in (workdir / "checkpoints" / "damaged").iterdir()}


@pytest.mark.fault("damage", "of another model")
def test_a_checkpoint_of_another_model_is_refused_with_the_arrays_that_differ(tmp_path):
    save(tmp_path, 1)
    with pytest.raises(errors.ConfigError, match=r"is of another model:\n  ema/dense/kernel: checkpoint \(64, 512\), config"):
        restore(tmp_path, template_of(state_at(1, width=256)))
    assert bits(restore(tmp_path)) == bits(state_at(1))


@pytest.mark.fault("damage", "of another mesh")
@pytest.mark.parametrize(("data", "fsdp"), [(2, 4), (1, 8)])
def test_a_checkpoint_of_another_mesh_is_restored_bit_for_bit(tmp_path, data, fsdp):
    save(tmp_path, 1)  # on 8 x 1
    assert bits(restore(tmp_path, template_of(state_at(1), meshes.make_mesh(data, fsdp)))) == bits(state_at(1))
