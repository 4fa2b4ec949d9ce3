"""What importing loads: commands answer at once, and accelerator machines may lack TensorFlow."""

import subprocess
import sys

import pytest


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("module", ["avc_jax", "avc_jax.errors", "avc_jax.config", "avc_jax.systems", "avc_jax.command",
                                    "avc_jax.report", "avc_jax.data.rendered", "avc_jax.data.decode", "avc_jax.data.sources",
                                    "avc_jax.data.plan", "avc_jax.train.guard", "avc_jax.train.workdir", "avc_jax.prepare",
                                    "avc_jax.data.records.make", "avc_jax.data.records.source", "avc_jax.data.records.beam",
                                    "avc_jax.embed", "avc_jax.vectors", "avc_jax.features", "avc_jax.visual.reading",
                                    "avc_jax.visual.folder", "avc_jax.data.windows",
                                    "avc_jax.search.__main__", "avc_jax.search.index", "avc_jax.search.nearest",
                                    "avc_jax.datasets", "avc_jax.datasets.manifest", "avc_jax.export",
                                    "avc_jax.convert", "avc_jax.published.read", "avc_jax.published.table",
                                    "avc_jax.data.narrated", "avc_jax.main", "avc_jax.train.watchdog"])
def test_import_loads_neither_jax_nor_tensorflow_nor_beam(module):
    heavy = {"jax", "tensorflow", "flax", "orbax", "apache_beam"}
    assert run(f"import sys, {module}; print(sorted({heavy!r} & set(sys.modules)))").strip() == "[]"


MODULES = ("avc_jax.systems.base", "avc_jax.systems.l3net", "avc_jax.systems.avlnet", "avc_jax.systems.spoken_objectnet",
           "avc_jax.nn.norm", "avc_jax.nn.vgg", "avc_jax.audio", "avc_jax.fields", "avc_jax.losses", "avc_jax.augment",
           "avc_jax.parallel.mesh", "avc_jax.train.step", "avc_jax.train.state", "avc_jax.train.optimizer", "avc_jax.report",
           "avc_jax.config")


def test_pure_modules_work_without_tensorflow():
    run("import sys, importlib\n"
        "sys.modules['tensorflow'] = None\n"
        f"for name in {MODULES!r}: importlib.import_module(name)\n"
        "from avc_jax import config, systems\n"
        "import jax\n"
        "system = systems.make(config.default('l3net'))\n"
        "batch = {n: jax.ShapeDtypeStruct((2, *f.shape), f.dtype) for n, f in system.features.items()}\n"
        "variables = jax.eval_shape(system.init, jax.random.key(0), batch)\n"
        "jax.eval_shape(system.loss, variables, batch, jax.random.key(0))\n")


def test_tensorflow_is_really_blocked_above():
    done = subprocess.run([sys.executable, "-c", "import sys; sys.modules['tensorflow'] = None; import avc_jax.data.pipeline"],
                          capture_output=True, text=True, check=False)
    assert "ModuleNotFoundError" in done.stderr
