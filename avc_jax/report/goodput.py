"""Where the time of the run went, as one bar."""

from avc_jax.report import text
from avc_jax.report.read import Run
from avc_jax.report.text import esc, number, percent

# The parts of avc_jax/train/goodput.py in its order, with their colours.
_PARTS = {"init": "c6", "compile": "c7", "data_wait": "c3", "step": "c0", "evaluate": "c2", "save": "c5", "lost": "c4"}
_HELP = {"init": "starting up", "data_wait": "waiting for data", "step": "training", "evaluate": "evaluating", "save": "saving",
         "compile": "compiling", "lost": "done again after a kill"}


def bar(run: Run) -> str:
    """The bar with its legend; empty where nothing was measured."""
    found = {part: number(run.part("goodput", "parts").get(part)) or 0.0 for part in _PARTS}
    total = sum(found.values())
    if total <= 0:
        return ""
    pieces, rows = [], []
    for part, seconds in found.items():
        share = seconds / total
        pieces.append(f'<span style="width:{100 * share:.3f}%;background:var(--{_PARTS[part]})"></span>')
        rows.append(f'<li><span class="piece" style="background:var(--{_PARTS[part]})"></span>'
                    f"{esc(_HELP[part])} {percent(share)}, {text.seconds(seconds)}</li>")
    processes = number(run.part("goodput").get("processes")) or 1
    told = f"{text.seconds(total)}, in {text.plural(processes, 'start')} of the command" if processes > 1 else text.seconds(total)
    label = f"Training {percent(found['step'] / total)} of {told}"
    return (f'<h3>Where the time went</h3><p class="sub">{told}</p>'
            f'<div class="spent" role="img" aria-label="{label}">{"".join(pieces)}</div>'
            f'<ul class="legend">{"".join(rows)}</ul>')
