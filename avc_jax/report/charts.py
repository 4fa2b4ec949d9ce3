"""Line charts as inline SVG: pure functions from numbers to markup.

The <svg> element is the plot area itself and shows what lies outside it, so that labels keep their size at
every width: text is placed by percentages of the box, lines live in a nested <svg> that stretches with it.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Sequence

from avc_jax.report.text import count, esc, short

# The nested coordinate system: both axes run over 0..SPAN.
SPAN = 1000.0
# Points drawn for one line; more cannot be told apart on a screen.
MAX_POINTS = 600
# From this many points on, a line is noisy enough to be drawn softly under its running mean.
SMOOTH_FROM = 40


@dataclasses.dataclass(frozen=True)
class Series:
    """One line. x: steps, ascending; y: values, None where not finite; look: CSS class and legend swatch."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    look: str = "train"
    dots: bool = False
    smooth: bool = False
    # (low, high) around the last point, drawn as an error bar.
    interval: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True)
class Chart:
    """A chart. y_range: fixed limits, None to follow the data; y_format: a value to its label."""

    name: str
    title: str
    y_label: str
    series: Sequence[Series]
    y_format: Callable[[float], str] = short
    y_range: tuple[float, float] | None = None
    reference: tuple[float, str] | None = None
    caption: str = ""


@dataclasses.dataclass(frozen=True)
class Axis:
    """A linear axis from `low` to `high`, in data units."""

    low: float
    high: float

    def at(self, value: float) -> float:
        """Position 0..1 of a value, kept inside the axis."""
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round values within low..high, about as many as asked for."""
    step = nice_step((high - low) / about)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def nice_step(rough: float) -> float:
    """The smallest of 1, 2, 2.5, 5 times a power of ten that is not below `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * (1 - 1e-9))


def thin(
    x: Sequence[float], y: Sequence[float | None], limit: int = MAX_POINTS
) -> list[tuple[float, float | None]]:
    """At most about `limit` points: each stretch's lowest and highest value, so that spikes stay visible."""
    points = list(zip(x, y, strict=True))
    if len(points) <= limit:
        return points
    kept: list[tuple[float, float | None]] = []
    width = math.ceil(len(points) * 2 / limit)
    for start in range(0, len(points), width):
        stretch = points[start : start + width]
        finite = [(at, value) for at, value in stretch if value is not None]
        by_value = sorted(finite, key=lambda p: p[1]) or stretch
        chosen = {by_value[0], by_value[-1]}
        if start + width >= len(points):
            chosen.add(points[-1])
        kept += sorted(chosen, key=lambda p: p[0])
    return kept


def running_mean(y: Sequence[float | None], half: int) -> list[float | None]:
    """Mean of the finite values up to `half` places to each side; fewer at the ends; None stays None."""
    sums, counts = [0.0], [0]
    for value in y:
        sums.append(sums[-1] + (value or 0.0))
        counts.append(counts[-1] + (value is not None))
    means: list[float | None] = []
    for i, value in enumerate(y):
        low, high = max(0, i - half), min(len(y), i + half + 1)
        means.append(None if value is None else (sums[high] - sums[low]) / (counts[high] - counts[low]))
    return means


def y_axis(chart: Chart) -> Axis:
    """The vertical axis: fixed, or from 0 to the data's top, where lone spikes do not count."""
    if chart.y_range:
        return Axis(*chart.y_range)
    values = sorted(v for s in chart.series for v in s.y if v is not None)
    if not values:
        return Axis(0.0, 1.0)
    top, usual = values[-1], values[int(0.98 * (len(values) - 1))]
    if usual > 0 and top > 4 * usual:
        top = 2 * usual
    low = min(values[0], 0.0)
    span = top - low or 1.0
    step = nice_step(span / 4)
    return Axis(math.floor(low / step) * step, math.ceil(top / step - 1e-9) * step or step)


def x_axis(chart: Chart) -> Axis:
    """The horizontal axis: from 0 to the last step of any line."""
    return Axis(0.0, max([s.x[-1] for s in chart.series if len(s.x)] + [1.0]))


def path(points: Sequence[tuple[float, float | None]], x: Axis, y: Axis) -> str:
    """SVG path data; a value of None breaks the line, and a point between two breaks becomes a dot."""
    out, pen, alone = [], False, False
    for step, value in points:
        if value is None:
            out.append("h0" if alone else "")
            pen = alone = False
            continue
        out.append(f"{'L' if pen else 'M'}{x.at(step) * SPAN:.1f} {(1 - y.at(value)) * SPAN:.1f}")
        alone, pen = not pen, True
    return "".join(out) + ("h0" if alone else "")


def _lines(series: Series, x: Axis, y: Axis) -> str:
    """The marks of one series, inside the nested coordinate system."""
    points = thin(series.x, series.y)
    out = []
    if series.smooth and len(series.x) >= SMOOTH_FROM:
        means = running_mean(series.y, max(2, len(series.y) // 50))
        out.append(f'<path class="line soft {series.look}" d="{path(points, x, y)}"/>')
        out.append(f'<path class="line {series.look}" d="{path(thin(series.x, means), x, y)}"/>')
    else:
        out.append(f'<path class="line {series.look}" d="{path(points, x, y)}"/>')
    if series.interval and series.y and series.y[-1] is not None:
        bar = [(series.x[-1], series.interval[0]), (series.x[-1], series.interval[1])]
        out.append(f'<path class="interval {series.look}" d="{path(bar, x, y)}"/>')
    if series.dots:
        # Lines of no length with round ends: dots that the stretched box does not turn into ellipses.
        dots = "".join(path([p], x, y) for p in points if p[1] is not None)
        out.append(f'<path class="dots {series.look}" d="{dots}"/>')
    return "".join(out)


def _grid(chart: Chart, x: Axis, y: Axis) -> str:
    """Grid lines, tick labels, axis titles and the reference line, placed by percentages of the plot area."""
    out = []
    for value in ticks(y.low, y.high, 4):
        at, label = f"{(1 - y.at(value)) * 100:.2f}%", esc(chart.y_format(value))
        out.append(f'<line class="grid" x1="0" x2="100%" y1="{at}" y2="{at}"/>')
        out.append(f'<text class="tick" x="-8" y="{at}" dy="4" text-anchor="end">{label}</text>')
    for value in ticks(x.low, x.high, 4):
        at, label = f"{x.at(value) * 100:.2f}%", esc(short(value))
        out.append(f'<line class="grid" x1="{at}" x2="{at}" y1="100%" y2="100%" transform="translate(0 5)"/>')
        out.append(f'<text class="tick" x="{at}" y="100%" dy="19" text-anchor="middle">{label}</text>')
    out.append('<text class="axis" x="100%" y="100%" dy="37" text-anchor="end">step</text>')
    out.append(f'<text class="axis" x="-48" y="0" dy="-14">{esc(chart.y_label)}</text>')
    out.append('<line class="base" x1="0" x2="100%" y1="100%" y2="100%"/>')
    if chart.reference:
        at = f"{(1 - y.at(chart.reference[0])) * 100:.2f}%"
        out.append(f'<line class="reference" x1="0" x2="100%" y1="{at}" y2="{at}"/>')
        label = esc(chart.reference[1])
        out.append(f'<text class="tick" x="100%" y="{at}" dy="15" text-anchor="end">{label}</text>')
    return "".join(out)


def _legend(chart: Chart) -> str:
    """Names beside swatches, and what the soft line is."""
    items = []
    for s in chart.series:
        smooth = s.smooth and len(s.x) >= SMOOTH_FROM
        dots = f'<path class="dots {s.look}" d="M15 6h0"/>' if s.dots else ""
        swatch = f'<path class="line {s.look}" d="M2 6h26"/>{dots}'
        swatch = f'<svg class="swatch" aria-hidden="true">{swatch}</svg>'
        items.append(f"<li>{swatch}{esc(s.name)}{' (bold: running mean)' if smooth else ''}</li>")
    return f'<ul class="legend">{"".join(items)}</ul>'


def _readout(chart: Chart, x: Axis, y: Axis) -> str:
    """What the page's script needs to show values under the pointer, as a JSON data block."""
    lines = []
    for s in chart.series:
        points = [(a, b) for a, b in thin(s.x, s.y) if b is not None]
        lines.append(
            {
                "name": s.name,
                "look": s.look,
                "x": [round(x.at(a), 4) for a, _ in points],
                "y": [round(1 - y.at(b), 4) for _, b in points],
                "step": [count(a) for a, _ in points],
                "text": [chart.y_format(b) for _, b in points],
            }
        )
    # A closing script tag inside a name would end the block early.
    block = json.dumps(lines, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" class="readout">{block}</script>'


def line_chart(chart: Chart) -> str:
    """The chart as a <figure>: title, legend, plot, caption."""
    x, y = x_axis(chart), y_axis(chart)
    lines = "".join(_lines(s, x, y) for s in chart.series)
    label = esc(f"{chart.title} over training steps. {chart.caption}")
    return (
        f'<figure class="chart" id="chart-{esc(chart.name)}"><h3>{esc(chart.title)}</h3>{_legend(chart)}'
        f'<div class="plot"><svg class="area" role="img" aria-label="{label}">{_grid(chart, x, y)}'
        f'<svg width="100%" height="100%" viewBox="0 0 {SPAN:.0f} {SPAN:.0f}" preserveAspectRatio="none">'
        f'{lines}</svg></svg><div class="cursor" hidden></div><div class="tip" hidden></div></div>'
        f"<figcaption>{esc(chart.caption)}</figcaption>{_readout(chart, x, y)}</figure>"
    )
