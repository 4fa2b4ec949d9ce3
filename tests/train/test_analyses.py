"""Evaluators are asked when they are due, about both networks, and what they say lands where people look."""

import json
import types

import numpy as np
import pytest
import tiny
from evaluators import asking

from avc_jax import errors, evaluators
from avc_jax.data import sources
from avc_jax.evaluators.base import Row
from avc_jax.evaluators.features import Features
from avc_jax.parallel import mesh as meshes
from avc_jax.train import analyses
from avc_jax.train.state import State


class Evaluator:
    """Answers with the network's parameter, and counts who asked."""

    data_sha256 = "of the data"

    def __init__(self, reason=None, empty=False, error=None):
        self.reason, self.empty, self.error = reason, empty, error
        self.asked: list[str] = []

    def missing(self):
        return self.reason

    def __call__(self, network):
        self.asked.append(network.name)
        if self.error:
            raise self.error
        if self.empty and network.name == "untrained":
            return {}
        factor = float(network.variables["params"]["factor"])
        return {"factor": factor, "audio": {"twice": 2 * factor, "names": ["a"]}, "good": True}

    def rows(self, trained, untrained):
        return [Row("The factor", trained["factor"], untrained and untrained["factor"], 0.125, note="of a network")]


class Writer:
    def __init__(self):
        self.written = []

    def write_scalars(self, step, values):
        self.written.append((step, values))

    def flush(self):
        pass


class Results(dict):
    """The work directory's results.json."""

    def __init__(self, path, **sections):
        super().__init__(sections)
        self.path = path

    def read(self, name):
        return self

    def update_evaluation(self, name, result):
        self["evaluate"] = self.get("evaluate", {}) | {name: json.loads(json.dumps(result))}


def state(factor, step):
    return State(step=np.int32(step), params={"factor": np.float32(factor)}, collections={}, opt_state=None, ema=None,
                 skipped=np.int32(0))


@pytest.fixture
def source(videos):
    return sources.open_folder(str(videos), "", (1.0, 0.0, 0.0))


@pytest.fixture
def make(source, tmp_path, monkeypatch):
    """(evaluators by name, workdir, changes of the config) -> Analyses, and the lines that it says."""

    def build(found, workdir=None, raise_if_stopped=lambda: None, **changes):
        said = []
        run = types.SimpleNamespace(
            config=tiny.config(**changes), system=asking.system(), mesh=meshes.make_mesh(8, 1), trained_on=source, heldout=source,
            quarantine=None, workdir=Results(tmp_path) if workdir is None else workdir,
            progress=types.SimpleNamespace(say=said.append), guard=types.SimpleNamespace(
                raise_if_stopped=raise_if_stopped, raise_while_waiting=raise_if_stopped),
            is_first=True, initial_state=lambda: state(0.5, 0))
        monkeypatch.setattr(evaluators, "make", lambda setting, features: found)
        return analyses.Analyses(run), said, run.workdir

    return build


def test_both_networks_are_asked_and_the_answers_are_written(make):
    asked, said, workdir = make({"transfer": Evaluator()})
    writer = Writer()
    asked.ask(state(0.75, 40), writer, last=True)
    found = workdir["evaluate"]["transfer"]
    assert found["trained"]["factor"] == 0.75 and found["untrained"]["factor"] == 0.5
    assert found["rows"] == [{"name": "The factor", "trained": 0.75, "untrained": 0.5, "chance": 0.125, "form": "share",
                              "note": "of a network", "lower_is_better": False}]
    assert found["step"] == 40 and len(found["params_sha256"]) == 64
    assert writer.written == [(40, {"evaluate/transfer/factor": 0.75, "evaluate/transfer/audio/twice": 1.5})]
    assert said[0].startswith("transfer at step 40") and said[1] == "  The factor: 75.0% (untrained 50.0%, chance 12.5%)"


def test_results_of_others_stand(make, tmp_path):
    asked, _, workdir = make({"transfer": Evaluator()}, Results(tmp_path, evaluate={"avc": {"accuracy": 0.7}}))
    asked.ask(state(0.75, 40), last=True)
    assert workdir["evaluate"]["avc"] == {"accuracy": 0.7} and "transfer" in workdir["evaluate"]


def test_only_those_that_are_due_are_asked_on_the_way(make):
    found = {"transfer": Evaluator(), "concepts": Evaluator()}
    asked, _, _ = make(found, evaluators__transfer="every")
    asked.ask(state(0.75, 40), last=False)
    assert (found["transfer"].asked, found["concepts"].asked) == (["trained", "untrained"], [])
    asked.ask(state(0.75, 50), last=True)
    assert found["concepts"].asked == ["trained", "untrained"]


def test_the_untrained_network_is_asked_once_also_by_a_later_run(make):
    evaluator = Evaluator()
    asked, _, workdir = make({"transfer": evaluator})
    asked.ask(state(0.75, 40), last=True)
    asked.ask(state(0.8, 50), last=True)
    assert evaluator.asked == ["trained", "untrained", "trained"]
    again, _, workdir = make({"transfer": evaluator}, workdir)
    again.ask(state(0.9, 60), last=True)
    assert evaluator.asked == ["trained", "untrained", "trained", "trained"]
    assert workdir["evaluate"]["transfer"]["untrained"]["factor"] == 0.5 and workdir["evaluate"]["transfer"]["step"] == 60


@pytest.mark.parametrize("change", ["config", "data"])
def test_another_question_is_asked_anew(make, change):
    evaluator = Evaluator()
    asked, _, workdir = make({"transfer": evaluator})
    asked.ask(state(0.75, 40), last=True)
    if change == "data":
        evaluator.data_sha256 = "of other data"
    again, _, _ = make({"transfer": evaluator}, workdir, **({"transfer__subclips": 3} if change == "config" else {}))
    again.ask(state(0.75, 40), last=True)
    assert evaluator.asked == ["trained", "untrained"] * 2


def test_how_long_training_takes_is_no_other_question(make):
    evaluator = Evaluator()
    asked, _, workdir = make({"transfer": evaluator})
    asked.ask(state(0.75, 40), last=True)
    again, _, _ = make({"transfer": evaluator}, workdir, train__steps=7, evaluators__transfer="every")
    again.ask(state(0.75, 40), last=True)
    assert evaluator.asked == ["trained", "untrained", "trained"]


def test_a_question_that_the_untrained_network_has_no_part_in(make):
    asked, said, workdir = make({"transfer": Evaluator(empty=True)})
    asked.ask(state(0.75, 40), last=True)
    assert workdir["evaluate"]["transfer"]["untrained"] is None
    assert said[1] == "  The factor: 75.0% (chance 12.5%)"


def test_one_that_has_nothing_to_ask_says_why_once_and_the_others_go_on(make):
    asked, said, workdir = make({"transfer": Evaluator("found no sound with a label"), "concepts": Evaluator()})
    asked.announce()
    assert said == ["No transfer: found no sound with a label. config.evaluators.transfer=off turns it off."]
    asked.ask(state(0.75, 40), last=True)
    asked.ask(state(0.75, 50), last=True)
    assert sum("transfer" in line for line in said) == 1
    assert workdir["evaluate"]["transfer"] == {"note": "Not asked: found no sound with a label."}  # for the page
    assert list(workdir["evaluate"]) == ["transfer", "concepts"]


def test_a_failure_of_one_is_a_failure(make):
    asked, _, _ = make({"transfer": Evaluator(error=errors.DataError("too many bad files"))})
    with pytest.raises(errors.DataError, match="too many bad files"):
        asked.ask(state(0.75, 40), last=True)


def test_a_signal_is_honoured_after_the_evaluator_that_it_met(make):
    def stop():
        raise errors.Stopped("Stopped by SIGTERM.")

    found = {"transfer": Evaluator(), "concepts": Evaluator()}
    asked, _, workdir = make(found, raise_if_stopped=stop)
    with pytest.raises(errors.Stopped):
        asked.ask(state(0.75, 40), last=True)
    assert list(workdir["evaluate"]) == ["transfer"] and not found["concepts"].asked


def test_numbers_are_said_as_numbers():
    assert analyses.in_words(Row("NMI", 0.12345, 0.05, None, "number")) == "NMI: 0.123 (untrained 0.05)"
    assert analyses.in_words(Row("Classes", 12, form="number")) == "Classes: 12"


def test_evaluators_are_found_by_their_files_and_turned_off_by_the_config(source, tmp_path):
    setting = asking.setting(tmp_path, source, evaluators__concepts="off")
    found = evaluators.make(setting, Features(setting))
    assert {"transfer", "clustering"} <= set(found) and not {"concepts", "avc", "base", "features"} & set(found)
