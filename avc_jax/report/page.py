"""Puts the parts of a run's report together and writes the page."""

from pathlib import Path

from avc_jax.report import curves, dimensions, facts, goodput, localisation, pairs, retrieval, scores, space, transfer, units
from avc_jax.report.frame import Section, frame, save
from avc_jax.report.read import Run, read
from avc_jax.report.text import esc

NAME = "report.html"

# Section -> heading, what links to it are called, and what writes it.
_SECTIONS = {
    "curves": ("Curves", "Curves", lambda run: curves.section(run) + goodput.bar(run)),
    "scores": ("Scores, beside the untrained network", "Scores", scores.section),
    "pairs": ("What it hears and sees", "What it hears and sees", pairs.section),
    "transfer": ("Classes of sounds", "Classes of sounds", transfer.section),
    "units": ("What single units respond to", "Units", units.section),
    "space": ("What is near what", "Neighbours", space.section),
    "localisation": ("Where in the frame the sound is", "Where the sound is", localisation.section),
    "retrieval": ("What it finds", "What it finds", retrieval.section),
    "dimensions": ("What single dimensions stand for", "Concepts", dimensions.section),
    "data": ("Data", "Data", facts.data),
    "config": ("Config", "Config", facts.config),
    "reproduce": ("Reproduce", "Reproduce", facts.reproduce),
}


def write(workdir: str | Path) -> Path:
    """Writes <workdir>/report.html from what the run left there; returns its path.

    Parts that are missing are named on the page with how to get them.

    Raises:
      MissingInputError: if `workdir` is not a folder.
      CannotWriteError: if the page cannot be written there.
    """
    run = read(workdir)
    path = run.workdir / NAME
    save(path, render(run), "Make the work directory writable, or free some space.")
    return path


def render(run: Run) -> str:
    """The whole page as HTML."""
    system, folder = (esc(name) for name in facts.names(run))
    title = f"{system} on {folder}" if folder else system
    links = "".join(f'<a href="#{name}">{link}</a>' for name, (_, link, _) in _SECTIONS.items())
    top = f'{facts.verdict(run)}\n{facts.figures(run)}\n<nav aria-label="Contents">{links}</nav>'
    sections = [Section(name, heading, part(run)) for name, (heading, _, part) in _SECTIONS.items()]
    notes = "".join(f"<p>{esc(note)}</p>" for note in run.notes)  # last: reading the sections may add some
    return frame(kind="training report", title=title, heading=title, top=top, sections=sections, notes=notes,
                 origin=f'<code class="path">{esc(run.workdir.resolve())}</code>')
