"""The programs that an export offers, for every system that is found."""

import jax
import pytest
import tiny

from avc_jax import config as configs
from avc_jax import systems
from avc_jax.exporting.programs import programs_of


@pytest.mark.parametrize("name", systems.names())
def test_every_system_offers_each_modality_alone_and_the_score_if_it_has_one(name):
    system = systems.make(configs.default(name))
    variables = jax.eval_shape(system.init, jax.random.key(0), tiny.zeros(system, 2))
    programs = {program.name: program for program in programs_of(system, variables)}
    assert {"embed_audio", "embed_video"} <= set(programs) and ("score" in programs) == (system.score is not None)
    outputs = [output for program in programs.values() for output in program.outputs]
    assert len(set(outputs)) == len(outputs)
    for program in programs.values():
        found = jax.eval_shape(program.call, variables, program.shapes(3))  # nothing but its inputs
        assert {output: (3, *shape) for output, shape in program.outputs.items()} == {
            output: value.shape for output, value in found.items()}


@pytest.mark.parametrize("head", ["l3", "ave"])
def test_a_program_takes_only_what_its_result_depends_on(head):
    system = systems.make(tiny.config(system__head=head))
    programs = {program.name: list(program.inputs) for program in programs_of(system, tiny.variables(system))}
    assert programs == {"embed_audio": ["waveform"], "embed_video": ["frame"], "score": ["frame", "waveform"]}
