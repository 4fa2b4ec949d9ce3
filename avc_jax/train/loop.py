"""The train loop, for every system: a story from config to results.

The order within a step is a promise: fetch a batch, step, log, save, evaluate, stop if asked to. A run that ended while it
evaluated a state begins with that evaluation when it resumes from it.
"""

import contextlib
import logging
import time

import jax

from avc_jax import errors
from avc_jax.data import pipeline
from avc_jax.data.feed import Feed
from avc_jax.data.plan import Plan
from avc_jax.parallel import mesh as meshes
from avc_jax.train import emergency, goodput
from avc_jax.train import step as steps
from avc_jax.train.results import conclude, evaluate, is_evaluated, publish, save_last
from avc_jax.train.run import Run
from avc_jax.train.state import State
from avc_jax.train.writers import average, make_writer

logger = logging.getLogger(__name__)

_SLOW = 0.5  # share of the time in which training waits for data


def train(run: Run) -> None:
    """Trains to config.train.steps, resuming where the work directory stands, then evaluates and reports. Ends with a line that
    says where the time went. With no steps to train for it evaluates what the run starts from.

    Raises:
      Stopped: a signal came; the state is saved, and the same command resumes.
      DivergedError: too many steps were not finite; the last checkpoint is from before.
      ConfigError, DataError, CannotWriteError: see there.
    """
    with contextlib.closing(run.goodput):
        run.announce()
        state = emergency.restore_newest(run.checkpoints, run.emergency, run.template)
        if state is not None:
            run.progress.say(f"Resuming at step {int(state.step)}.")
        state = run.initial_state() if state is None else state
        run.goodput.begin(int(state.step))
        writer = make_writer(run.workdir.path if run.is_first else None, int(state.step))
        try:
            if int(state.step) < run.config.train.steps:
                with run.goodput.part("step"):
                    state = _train_steps(run, state, writer)
            with run.goodput.part("evaluate"):
                conclude(run, state, writer)
        finally:
            writer.close()
            run.progress.say(goodput.in_words(run.goodput.summary()))


def _train_steps(run: Run, state: State, writer) -> State:
    """Runs the steps that are left. When asked to stop, saves the last whole step and raises Stopped."""
    config, start = run.config, int(state.step)
    feed = Feed(_batches(run, start), meshes.batch_sharding(run.mesh), on_wait=run.guard.raise_while_waiting)
    window, profile = _Window(run, feed, writer), _Profile(run)
    try:
        with run.goodput.part("compile"):
            step_fn = _compile(run)
        window.begin(start)
        if _is_to_evaluate(run, start) and not is_evaluated(run, state):
            _evaluate(run, state, writer, window)
        for step in range(start + 1, config.train.steps + 1):
            with run.goodput.part("data_wait"):
                batch = next(feed)
            profile.step(step)
            run.guard.nothing_to_lose = False
            state, metrics = step_fn(state, batch)
            run.goodput.step = step
            window.add(metrics)
            run.quarantine.check()  # of what other processes met
            if step % config.train.log_every == 0 or step == config.train.steps:
                window.log(step, state)
            if step % config.train.checkpoint_every == 0 or step == config.train.steps or run.checkpoints.must_retry():
                window.check_finite(state)
                with run.goodput.part("save"):
                    run.checkpoints.save(state)
                run.goodput.write()
            if _is_to_evaluate(run, step):
                _evaluate(run, state, writer, window)
            run.guard.raise_if_stopped()
        return state
    except errors.Stopped as stopped:
        done = int(state.step)
        if done == start:
            raise errors.Stopped(f"{stopped} No step was done; the same command goes on from step {done}.") from None
        save_last(run, state)
        publish(run, state)
        raise errors.Stopped(f"{stopped} Saved at step {done}; the same command resumes.") from None
    except (errors.DataError, errors.MissingInputError) as error:
        # Nothing has to be lost for want of data. One process of several cannot save by itself, and others may have batches yet.
        if jax.process_count() > 1 or int(state.step) == start:
            raise
        save_last(run, state)
        raise type(error)(f"{error} Saved at step {int(state.step)}; the same command resumes.") from error
    except errors.CannotWriteError as error:
        raise run.emergency.save(state, error) from error
    finally:
        profile.close()
        feed.close()


def _is_to_evaluate(run: Run, step: int) -> bool:
    """Whether a step is one of those in mid-training after which the network is evaluated."""
    every = run.config.train.evaluate_every
    return bool(every) and step % every == 0 and 0 < step < run.config.train.steps


def _evaluate(run: Run, state: State, writer, window: "_Window") -> None:
    with run.goodput.part("evaluate"):
        evaluate(run, state, writer)
        publish(run, state)
    window.begin(int(state.step))


def _batches(run: Run, start: int):
    """This process's rows of the global batches from step `start` on."""
    config = run.config
    source = run.source.select(config.data.split)
    plan = Plan(len(source.clips), config.train.seed, config.train.batch_size, config.data.pairs_per_visit,
                config.data.together)
    reader = source.reader(plan, run.form, run.quarantine, run.system.features, pairing=config.data.pairing)
    return pipeline.train_batches(reader, first_step=start, host=jax.process_index(), hosts=jax.process_count(),
                                  threads=config.data.decode_threads, ahead=config.data.prefetch_batches,
                                  names=tuple(run.system.features))


def _compile(run: Run):
    """The compiled training step; the first batches are being read meanwhile."""
    began = time.monotonic()
    compiled = run.program.lower().compile()
    run.progress.say(f"Compiled the step in {time.monotonic() - began:.0f} s.")
    return compiled


class _Profile:
    """The profiler's window, if the config asks for one."""

    def __init__(self, run: Run):
        self._run, self._open = run, False
        self._first, self._count = run.config.train.profile_at, run.config.train.profile_steps

    def step(self, step: int) -> None:
        """Opens or closes the window, before the step."""
        if step == self._first and self._run.is_first:
            jax.profiler.start_trace(str(self._run.workdir.path / "profile"))
            self._open = True
        elif step == self._first + self._count:
            self.close()

    def close(self) -> None:
        if self._open:
            jax.profiler.stop_trace()
            self._open = False
            self._run.progress.say(f"Wrote a profile to {self._run.workdir.path / 'profile'}; TensorBoard shows it.")


class _Window:
    """The metrics since the last line of the log."""

    def __init__(self, run: Run, feed: Feed, writer):
        self._run, self._feed, self._writer = run, feed, writer
        self._metrics: list = []
        self._waited_s, self._skipped = 0.0, 0
        self._told_slow: bool | None = None  # None: the first stretch is not over, in which the reading begins

    def begin(self, step: int) -> None:
        """Starts to count time at a step."""
        self._run.progress.begin(step)
        self._waited_s = self._feed.waited_s

    def add(self, metrics) -> None:
        self._metrics.append(metrics)
        steps.wait_for_devices(self._metrics)

    def log(self, step: int, state: State) -> None:
        """Writes the means over the steps since the last log, and the rates."""
        values = average(jax.device_get(self._metrics))
        self._metrics = []
        values |= self._run.progress.measure(step, self._feed.waited_s - self._waited_s)
        self._run.progress.report(step, values)
        self._tell_if_slow(values["data_wait"])
        values |= {"lr": float(self._run.schedule(step - 1)), "skipped": int(state.skipped)}
        self._writer.write_scalars(step, {f"train/{name}": value for name, value in values.items()})
        self._writer.flush()
        self.check_finite(state)
        self.begin(step)

    def _tell_if_slow(self, data_wait: float) -> None:
        """Warns once, in whichever process waits for its data."""
        if self._told_slow is False and data_wait > _SLOW:
            self._told_slow = True
            logger.warning("Training waits for data %.0f%% of the time: reading %s is slow. benchmarks/input.py measures it; "
                           "config.data.decode_threads, a faster disk or records (avc_jax.prepare) can help.",
                           100 * data_wait, self._run.source.root)
        self._told_slow = bool(self._told_slow)

    def check_finite(self, state: State) -> None:
        """Tells of skipped steps; raises DivergedError when there were too many."""
        skipped, budget = int(state.skipped), self._run.config.train.nonfinite_budget
        if skipped > budget:
            raise errors.DivergedError(
                f"Loss or gradient was not finite in {skipped} of {int(state.step)} steps, more than "
                f"config.train.nonfinite_budget = {budget}. Lower config.optimizer.lr or set config.optimizer.clip_norm; the "
                f"last checkpoint is from before.")
        if skipped > self._skipped:
            self._run.progress.say(f"Skipped {skipped} step(s) so far: loss or gradient was not finite.")
            self._skipped = skipped
