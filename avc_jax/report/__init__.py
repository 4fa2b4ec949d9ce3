"""One self-contained page about a run, written from what the run left in its work directory."""

from avc_jax.report.page import write

__all__ = ["write"]
