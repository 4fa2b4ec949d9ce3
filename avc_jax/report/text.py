"""Values to text: escaping and number formats, shared by every part of the page."""

import html
import math
import re

NBSP = "\N{NO-BREAK SPACE}"
DASH = "\N{EN DASH}"
NONE = "\N{EM DASH}"

# Control characters other than tab and newline, and the bidirectional overrides, which can make a file name
# read as another one.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def esc(value: object) -> str:
    """Any value as text that is safe in HTML content and in double-quoted attributes."""
    # JSON may hold lone surrogates, which UTF-8 cannot.
    text = str(value).encode("utf-8", "replace").decode("utf-8")
    return html.escape(_UNSAFE.sub("\N{REPLACEMENT CHARACTER}", text), quote=True)


def number(value: object) -> float | None:
    """A finite float, or None for anything else (null, NaN, text, booleans)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        value = float(value)
    except OverflowError:
        return None
    return value if math.isfinite(value) else None


def percent(share: float | None, digits: int = 1) -> str:
    """A share 0..1 as "91.0 %"."""
    return NONE if share is None else f"{share * 100:.{digits}f}{NBSP}%"


def percent_range(low: float, high: float, digits: int = 1) -> str:
    """Two shares 0..1 as "88.0-94.0 %"."""
    return f"{low * 100:.{digits}f}{DASH}{high * 100:.{digits}f}{NBSP}%"


def count(value: float | None) -> str:
    """A whole number with thousands separators."""
    return NONE if value is None else f"{value:,.0f}"


def short(value: float | None) -> str:
    """A number in at most about four characters with k, M or G: 9.5M, 12.3k, 0.693."""
    if value is None:
        return NONE
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if suffix == 'k' else size):.3g}{suffix}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def seconds(value: float | None) -> str:
    """A duration in seconds as "42 s", "3 min 20 s" or "2 h 5 min"."""
    if value is None or value < 0:
        return NONE
    whole = round(value)
    if whole < 60:
        return f"{value:.3g}{NBSP}s"
    if whole < 3600:
        return f"{whole // 60}{NBSP}min {whole % 60}{NBSP}s"
    return f"{whole // 3600:,}{NBSP}h {whole % 3600 // 60}{NBSP}min"


def plural(amount: float, word: str) -> str:
    """ "1 clip", "2 clips"."""
    return f"{count(amount)} {word}{'' if amount == 1 else 's'}"


def missing(markup: str) -> str:
    """A paragraph on a part that is not there; `markup` is trusted."""
    return f'<p class="missing">{markup}</p>'


def table(label: str, look: str, columns: list[str], rows: str) -> str:
    """A table that scrolls sideways on its own. columns: texts; rows: trusted <tr> markup."""
    head = "".join(f'<th scope="col">{esc(column)}</th>' for column in columns)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{esc(label)}"><table class="{look}">'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
