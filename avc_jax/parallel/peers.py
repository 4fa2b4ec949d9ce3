"""What the processes of a run tell each other, so that they begin, stop and end together.

JAX tells them nothing of this kind: a process that fails, or is killed, leaves the others in a collective operation until its
heartbeat is missed, without a reason and with an exit code that says "try again". And its agreement on the last step knows
nothing but SIGTERM and steps, and Orbax asks it in between with numbers of its own.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, NoReturn

from avc_jax import command, errors, stderr
from avc_jax.parallel.line import Line, Message

_NEWS_S = 5.0  # In which news of the end of a process reach the others.
# What a process fails with on its own: its memory, and programs that the compiler or a device will always refuse.
_OWN_FAILURES = ("RESOURCE_EXHAUSTED", "INVALID_ARGUMENT", "UNIMPLEMENTED")


class Peers:
    """All processes of a run, as one of them sees them. Process 0 decides what needs one decision.

    Attributes:
      process: the number of this one.
      count: how many there are.
      on_bad: what process 0 does with a bad file that another one has met: called with (path, kind, reason).
    """

    def __init__(self, process: int = 0, count: int = 1, line: Line | None = None):
        """
        Args:
          process, count: see above.
          line: to the others; None: there are none.
        """
        self.process, self.count, self._line = process, count, line
        self.on_bad: Callable[[str, str, str], None] = lambda path, kind, reason: None
        self._news = threading.Condition()
        # Of the stop: calls of `stopped` so far; whether they wait for a decision; the last of them and why, once decided.
        self._calls, self._asked, self._told = 0, False, False
        self._last: int | None = None
        self._reason = ""
        self._counted: dict[int, int] = {}
        # Of barriers: those that this process has come to, those that all have, and who is at the next (process 0).
        self._reached, self._passed, self._here = 0, 0, 0
        # Of the end: what is known of whoever ended first; whether this process is ending; whose good end has been heard of.
        self._first: _End | None = None
        self._ending = False
        self._done: set[int] = set()
        if line is not None:
            line.listen(self._receive, self._gone)

    def _tell(self, kind: str, **content: Any) -> None:
        """Tells process 0."""
        message = {"kind": kind, **content}
        if self.process == 0 or self._line is None:
            self._receive(self.process, message)
        else:
            self._line.send(message)

    def _tell_all(self, kind: str, **content: Any) -> None:
        """Process 0 tells everybody, itself included."""
        if self._line is not None:
            self._line.send({"kind": kind, **content})
        self._receive(0, {"kind": kind, **content})

    def _receive(self, sender: int, message: Message) -> None:
        kind = message.pop("kind")
        with self._news:
            getattr(self, f"_on_{kind}")(sender, **message)
            self._news.notify_all()

    # Stopping -------------------------------------------------------------------------------------------------------------

    def stopped(self, signal_name: str | None) -> str | None:
        """Why all processes stop now, or None: at the same call in each of them, so every one has to call it equally often.

        It costs a lock, and nothing on the network, until a signal has come. Then process 0 asks how far everybody is; calls wait
        for the answers, and the first call that nobody has made yet is the last.

        Args:
          signal_name: of the signal that this process has received, if it has.
        """
        self.tell_of(signal_name)
        with self._news:
            self._news.wait_for(lambda: not self._asked or self._last is not None)
            self._calls += 1
            return self._reason if self._last is not None and self._calls >= self._last else None

    def tell_of(self, signal_name: str | None) -> None:
        """Tells of a signal where no agreement is possible, as while this process alone waits for data."""
        if signal_name and not self._told:
            self._told = True
            self._tell("signal", name=signal_name)

    def _on_signal(self, sender: int, name: str) -> None:
        if not self._reason:
            self._reason = f"Stopped by {name}" + (f" to process {sender}." if self.count > 1 else ".")
            self._tell_all("ask")

    def _on_ask(self, sender: int) -> None:
        self._asked = True
        self._tell("count", calls=self._calls)

    def _on_count(self, sender: int, calls: int) -> None:
        self._counted[sender] = calls
        if len(self._counted) == self.count:
            self._tell_all("stop", after=max(self._counted.values()), reason=self._reason)

    def _on_stop(self, sender: int, after: int, reason: str) -> None:
        self._last, self._reason = after + 1, reason

    # Waiting for each other -----------------------------------------------------------------------------------------------

    def meet(self) -> None:
        """Waits until every process is here."""
        with self._news:
            self._reached += 1
            self._tell("here")
            self._news.wait_for(lambda: self._passed >= self._reached)

    @contextlib.contextmanager
    def one_before_the_others(self) -> Iterator[None]:
        """Process 0 runs the block before all others do."""
        if self.process:
            self.meet()
        yield
        if not self.process:
            self.meet()

    def _on_here(self, sender: int) -> None:
        self._here += 1
        if self._here == self.count:
            self._here = 0
            self._tell_all("on")

    def _on_on(self, sender: int) -> None:
        self._passed += 1

    # Bad files ------------------------------------------------------------------------------------------------------------

    def tell_bad(self, path: str, kind: str, reason: str) -> None:
        """Tells process 0, which keeps the ledger, of a bad file."""
        self._tell("bad", path=path, what=kind, reason=reason)

    def _on_bad(self, sender: int, path: str, what: str, reason: str) -> None:
        self.on_bad(path, what, reason)

    # Ending ---------------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Runs the block in all processes; where it fails in one of them, all end with its exit code, and one says why.

        Raises:
          Ended: another process failed first, or process 0 says why all have stopped.
          LostError: what failed was a computation of all processes, and so is probably another of them.
        """
        if self.count == 1:
            yield
            return
        try:
            yield
        except errors.Stopped:  # in all of them
            self._part()
            if self.process:
                raise errors.Ended(errors.Stopped.exit_code) from None
            raise
        except BaseException as error:
            raise self._end(error) from error.__cause__
        else:
            self._part()

    def _part(self) -> None:
        """A good end: nobody is missed from now on. Process 0 may have things to write until then."""
        self._tell("done")
        with self._news:
            self._news.wait_for(lambda: 0 in self._done)

    def _on_done(self, sender: int) -> None:
        self._done.add(sender)
        if sender == self.process == 0:
            assert self._line is not None
            self._line.send({"kind": "done"})

    def _end(self, error: BaseException) -> BaseException:
        """What to raise in place of an error."""
        if (failure := _joint_failure(error)) is not None:
            # If a process is gone, that is why; the line says so at about the same time.
            self._wait_for_first(_NEWS_S)
            error = errors.LostError("What all processes do together failed, so one of them or the network may be gone: "
                                     f"{failure}")
        self._ending = True
        self._tell("failed", code=errors.exit_code(error))
        self._wait_for_first(_NEWS_S)
        if self._first is None or self._first.process == self.process:
            return error
        return errors.Ended(self._first.code, self._epitaph(self._first))

    def _wait_for_first(self, limit_s: float) -> None:
        with self._news:
            self._news.wait_for(lambda: self._first is not None, timeout=limit_s)

    def abort(self, code: int, message: str = "") -> NoReturn:
        """Ends all processes with an exit code, at once, from any thread; whoever was first says why."""
        self._ending = True
        self._tell("failed", code=code)
        self._wait_for_first(_NEWS_S)
        if message and (self._first is None or self._first.process == self.process):
            stderr.say_in_time(message)
        self.exit(code)

    def exit(self, code: int) -> NoReturn:
        """Ends this process; after a failure without waiting for anything that needs the others, who are ending, too."""
        if not self._ending:
            command.end(code)
        if self.process == 0 and self._line is not None:
            # JAX's service is here, and a process that finds it gone aborts: the others go first.
            self._line.wait_for_ends(_NEWS_S)
        os._exit(code)

    def _on_failed(self, sender: int, code: int) -> None:
        if self._first is None:
            self._tell_all("end", process=sender, code=code, gone=False)

    def _gone(self, process: int) -> None:
        """A connection has ended; after a good end it means nothing."""
        with self._news:
            if process in self._done or self._first is not None:
                return
            found = _End(process, errors.LostError.exit_code, gone=True)
            if self.process == 0:
                self._tell_all("end", **found._asdict())
            else:
                self._on_end(0, **found._asdict())
            self._news.notify_all()

    def _on_end(self, sender: int, **found: Any) -> None:
        self._first = first = _End(**found)
        if self._ending:
            return  # the thread that ends this process sees to it
        self._ending = True
        # The main thread may be in an operation that never ends; this one has to go on reading.
        threading.Thread(target=self._leave, args=(first,), daemon=True).start()

    def _leave(self, first: "_End") -> NoReturn:
        # Of who is stuck in this process.
        stacks = f"\n{stderr.stacks()}" if first.code == errors.LostError.exit_code and not first.gone else ""
        stderr.say_in_time(self._epitaph(first) + stacks)
        self.exit(first.code)

    def _epitaph(self, first: "_End") -> str:
        what = "is gone" if first.gone else f"ended with exit code {first.code}"
        return f"Process {first.process} of {self.count} {what}, so process {self.process} ends, too."


class _End(NamedTuple):
    """How the first process ended: its number, its exit code, and whether it said nothing."""

    process: int
    code: int
    gone: bool = False


def _joint_failure(error: BaseException | None) -> BaseException | None:
    """The failure of what all processes do together that is behind an error."""
    while error is not None:
        if type(error).__name__ == "JaxRuntimeError" and not any(kind in str(error) for kind in _OWN_FAILURES):
            return error
        error = error.__cause__ or error.__context__
    return None
