"""What a run concludes: evaluations, results.json, and the report page."""

import time
from pathlib import Path
from typing import Any

import jax
import jaxlib
import numpy as np
from jax.experimental import multihost_utils

from avc_jax import __version__, errors, report
from avc_jax import config as configs
from avc_jax.evaluators import avc, base
from avc_jax.train import state as states
from avc_jax.train.run import Run
from avc_jax.train.state import State


def evaluate(run: Run, state: State, writer=None, *, last: bool = False) -> None:
    """Asks whichever evaluators are due about a state, and writes metrics and results.json.

    Args:
      run: the run.
      state: what to evaluate; averaged parameters where there are any.
      writer: of metrics; None writes none.
      last: whether this is the end of the run, or --mode=evaluate: all that are not off are due.

    Raises:
      Stopped: a signal came; earlier results stand.
    """
    if run.evaluator is not None and (last or run.config.evaluators.avc == "every"):
        _evaluate_pairs(run, run.evaluator, state, writer, last)
    elif last and run.no_pairs and run.config.evaluators.avc != "off":
        _note_for_page(run, run.no_pairs)
    run.analyses.ask(state, writer, last=last)
    run.workdir.update_results(evaluated_step=int(state.step))


def is_evaluated(run: Run, state: State) -> bool:
    """Whether `evaluate` has come to its end for this step. Process 0 decides for all."""
    done = run.workdir.read("results.json").get("evaluated_step") == int(state.step)
    return bool(multihost_utils.broadcast_one_to_all(np.int32(done)))


def _note_for_page(run: Run, reason: str) -> None:
    """Leaves why pairs are not asked about, unless there is an answer from before."""
    if "avc" not in run.workdir.read("results.json").get("evaluate", {}):
        run.workdir.update_evaluation("avc", {"note": f"Not asked: {reason}."})


def _evaluate_pairs(run: Run, evaluator: avc.AVC, state: State, writer, last: bool) -> None:
    """Scores pairs of the held-out clips, and keeps some for the page; at the last step all, and by the untrained network too."""
    config, step, began = run.config, int(state.step), time.monotonic()
    shown = [began]

    def on_batch(done: int, clips: int) -> None:
        run.guard.raise_if_stopped()
        if time.monotonic() - shown[0] > 10:
            shown[0] = time.monotonic()
            run.progress.say(f"  evaluating: {done} of {clips} clips")

    variables = states.inference_variables(state)
    result, pairs = evaluator(variables, max_clips=0 if last else config.evaluate.max_clips, keep=config.evaluate.pairs_on_page,
                              on_batch=on_batch, on_wait=run.guard.raise_while_waiting)
    if result["clips"] == 0:
        raise errors.DataError(f"None of the {result['skipped']} held-out clips can be used; see "
                               f"{run.workdir.path / 'quarantine.jsonl'}.")
    run.progress.say(
        f"Held-out AVC accuracy at step {step}: {result['accuracy']:.3f} "
        f"(95% {result['ci95'][0]:.3f} to {result['ci95'][1]:.3f}) on {result['clips']} clips, "
        f"chance 0.5; {time.monotonic() - began:.0f} s.")
    kept = _pairs_untrained(run, evaluator, on_batch) if last else {"untrained": None}
    if not run.is_first:
        return
    if writer is not None:
        writer.write_scalars(step, {"evaluate/avc/accuracy": result["accuracy"], "evaluate/avc/low": result["ci95"][0],
                                    "evaluate/avc/high": result["ci95"][1]})
        writer.flush()
    row = base.Row("Pairs of frame and sound told apart", result["accuracy"], kept["untrained"] and kept["untrained"]["accuracy"],
                   0.5, note=f"a true and a false pair of each of {result['clips']} held-out clips")
    result |= {"step": step, "split": config.data.evaluate_split, "params_sha256": states.params_sha256(variables["params"]),
               **kept, "rows": base.to_json([row])}
    run.workdir.update_evaluation("avc", result)
    avc.write_pairs(run.workdir.path / "pairs.npz", pairs, run.heldout, config)


def _pairs_untrained(run: Run, evaluator: avc.AVC, on_batch) -> dict[str, Any]:
    """The accuracy of the network before its first step, see `Analyses.about_untrained`."""

    def ask(network: base.Network) -> dict[str, Any]:
        return evaluator(network.variables, on_batch=on_batch, on_wait=run.guard.raise_while_waiting)[0]

    return run.analyses.about_untrained("avc", ask)


def conclude(run: Run, state: State, writer) -> None:
    """At the last step: saves, evaluates on every held-out clip, and publishes.

    Raises:
      Stopped: a signal came; the state is saved, and the same command goes on with what was not asked yet.
    """
    save_last(run, state)
    run.guard.peers.meet()  # process 0 alone writes the digest, and whoever has nothing to lose ends all
    run.guard.nothing_to_lose = True
    write_facts(run, state)
    try:
        evaluate(run, state, writer, last=True)
    except errors.Stopped as stopped:
        raise errors.Stopped(f"{stopped} Saved at step {int(state.step)}, the last; the same command goes on with the evaluation."
                             ) from None
    run.progress.say(f"Done at step {int(state.step)}. The report: {publish(run, state)}")


def save_last(run: Run, state: State) -> None:
    """Saves a state before the end of this process, and returns when it is on the disk; an older emergency copy goes.

    Raises:
      CannotWriteError: the work directory cannot be written; the message says where the state is kept instead, if it is.
    """
    try:
        with run.goodput.part("save"):
            # Who asked for a stop may not wait for long, and there may be a better place.
            run.checkpoints.finish(state, patient=not (run.guard.should_stop and run.emergency))
    except errors.CannotWriteError as error:
        raise run.emergency.save(state, error) from error
    run.emergency.remove()
    run.goodput.write()


def publish(run: Run, state: State) -> Path | None:
    """Brings results.json and the page up to a state; returns the page, which only the first process writes."""
    write_facts(run, state)
    return report.write(run.workdir.path) if run.is_first else None


def evaluate_checkpoint(run: Run) -> None:
    """The whole of --mode=evaluate: scores the newest valid checkpoint on every held-out clip.

    Raises:
      MissingInputError: there is no checkpoint.
      ConfigError: it is of another network.
      DataError: too few files are held out for pairs, and pairs are all that the system can be asked about.
    """
    if not run.checkpoints.steps():
        raise errors.MissingInputError(f"--workdir={run.workdir.path} holds no checkpoint to evaluate; train first, with the "
                                       "same command without --mode=evaluate, or with --config.train.steps=0 in its place to "
                                       "evaluate what config.train.init_from names.")
    run.workdir.check_network(run.config)
    if run.system.score is not None and run.source.holds_pairs and run.no_pairs and run.config.evaluators.avc != "off":
        raise errors.DataError(f"config.data.evaluate_split={run.config.data.evaluate_split} holds {run.heldout.num_files} "
                               f"file(s) of {run.source.root}, and false pairs need two; the clips are in splits "
                               f"{run.source.count_splits()}.")
    run.analyses.announce()
    state = run.checkpoints.restore_newest_valid(run.template)
    assert state is not None  # there are steps
    evaluate(run, state, last=True)
    run.progress.say(f"The report: {publish(run, state)}")


def write_facts(run: Run, state: State) -> None:
    """Writes what is known without an evaluation to results.json."""
    config = run.config
    if run.goodput.step is not None:  # unless a checkpoint is evaluated
        run.workdir.update_results(goodput=run.goodput.summary())
    run.workdir.update_results(
        train={
            "step": int(state.step),
            "steps": config.train.steps,
            "params_sha256": states.params_sha256(state.params),
            "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
            "pairs": int(state.step) * run.progress.pairs_per_step,
            "skipped_steps": int(state.skipped),
        },
        data={
            "root": str(run.source.root),
            "clips": len(run.source.clips),
            "files": run.source.num_files,
            "splits": run.source.count_splits(),
            "split": config.data.split,
            "clips_sha256": run.source.sha256(),
            "quarantined": len(run.quarantine.reasons),
        },
        config=configs.to_dict(config),
        versions={"avc_jax": __version__, "jax": jax.__version__, "jaxlib": jaxlib.__version__},
        command=run.command,
    )
