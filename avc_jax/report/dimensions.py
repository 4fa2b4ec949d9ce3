"""The sheet of concepts: dimensions of the common space that stand for a word, by sound and by picture."""

from typing import Any

from avc_jax.report import sheets
from avc_jax.report.read import Run
from avc_jax.report.sheets import Sheet
from avc_jax.report.text import count, esc, missing, number, plural

# Name -> number of axes; the first one is that of the dimensions, the second that of their clips, the strongest first.
FIELDS = dict(dimension=1, word=1, f1=1, clip=2, text=2, has=2, contribution=2, media=2)
BUDGET = 800_000


def section(run: Run) -> str:
    """What was counted, and a card for each dimension; or what to do to get them."""
    whole = run.part("evaluate", "dimensions", "trained")
    if number(whole.get("concepts")) is None:
        return missing(
            "No concepts of dimensions yet: the evaluator <code>dimensions</code> of <code>config.evaluators</code> looks for "
            "them in systems that have a common space, where held-out clips have captions or labels."
        )
    found = run.arrays("pictures/dimensions.npz", FIELDS)
    if found is None or not len(found["dimension"]):
        return f"<p>{_told(run, whole)}</p>"
    sheet = sheets.read(run, "pictures/dimensions_media.npz", BUDGET)
    cards = "".join(_card({name: array[i] for name, array in found.items()}, sheet) for i in range(len(found["dimension"])))
    return f'<p>{_told(run, whole)}</p><h3>The best, one for each word</h3><div class="units">{cards}</div>'


def _told(run: Run, whole: dict[str, Any]) -> str:
    """What a concept is, and how many there are beside the untrained network and shuffled words."""
    said = ("The score of a sound and a picture is a sum over dimensions. A dimension stands for a word if the clips to which it "
            "contributes most are those with the word, and if the word is the same where only its sound, and where only its "
            f"picture is looked at. <strong>{plural(number(whole.get('concepts')) or 0, 'dimension')}</strong> of "
            f"{count(number(whole.get('dimensions')))} do, for {plural(number(whole.get('different')) or 0, 'different word')}")
    beside = []
    if (untrained := number(run.part("evaluate", "dimensions", "untrained").get("concepts"))) is not None:
        beside.append(f"{count(untrained)} in the untrained network")
    if (shuffled := number(whole.get("shuffled_concepts"))) is not None:
        beside.append(f"{shuffled:.3g} with shuffled words")
    return said + (f"; {' and '.join(beside)}." if beside else ".")


def _card(dimension: dict[str, Any], sheet: Sheet) -> str:
    """One dimension as an <article> with its clips in a list."""
    number_of, word = int(dimension["dimension"]), str(dimension["word"])
    items = "".join(_item(dimension, k, sheet) for k in range(len(dimension["clip"])))
    return (f'<article class="unit video" aria-labelledby="dimension-{number_of}"><h4 id="dimension-{number_of}">'
            f'<q>{esc(word)}</q> <span class="kind">dimension {number_of}</span> <span class="mark">F1 '
            f'{float(dimension["f1"]):.2f}</span></h4><ol class="items">{items}</ol></article>')


def _item(dimension: dict[str, Any], k: int, sheet: Sheet) -> str:
    """One clip: whether it has the word, and how much the dimension contributes."""
    has = bool(dimension["has"][k])
    mark = (f'<span class="{"right" if has else "wrong"}">{chr(0x2713) if has else chr(0x2717)}</span> '
            f'<span class="sub" title="contribution">{float(dimension["contribution"][k]):#.3g}</span> '
            f'<span class="sub said">{esc(dimension["text"][k])}</span>')
    return sheets.item(sheet, int(dimension["media"][k]), dimension["clip"][k], mark)
