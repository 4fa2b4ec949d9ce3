"""An estimate in words and tables."""

from typing import NamedTuple

from avc_jax.parallel.plan.estimate import GB, Estimate


class Price(NamedTuple):
    """What a chip costs, as the user found it.

    Attributes:
      per_hour: of one chip.
      date: on which that was the price.
    """

    per_hour: float
    date: str


def full(found: Estimate, steps: int, pairs_per_visit: int, price: Price | None) -> str:
    """All that a plan has to say.

    Args:
      found: the estimate.
      steps: of the whole run.
      pairs_per_visit: pairs taken from one visit to a file.
      price: of a chip, if the user gave it.
    """
    sections = [_head(found), _memory(found), _work(found), _collectives(found), _time(found),
                _run(found, steps, price), _input(found, pairs_per_visit)]
    return "\n\n".join(sections)


def row(found: Estimate) -> str:
    """A line of a sweep."""
    low, high = found.step_s
    mesh = " x ".join(f"{size} {axis}" for axis, size in found.mesh.items())
    return (f"{mesh:<32} {found.batch:>8} {found.total / GB:>8.2f} {1e3 * low:>9.2f} {1e3 * high:>9.2f} "
            f"{found.pairs / high:>10,.0f}  {'fits' if found.fits else 'does not fit'}")


ROW_HEAD = f"{'mesh':<32} {'batch':>8} {'GB':>8} {'ms, best':>9} {'ms, worst':>9} {'pairs/s':>10}"


def _head(found: Estimate) -> str:
    where = found.topology
    islands = f"{where.islands} {'slice' if where.chip.tpu else 'node'}{'s' * (where.islands > 1)}"
    how = f"Compiled for it in {found.compile_s:.0f} s."
    if not where.chip.tpu:
        how = (f"Estimated from the program for as many CPUs, compiled in {found.compile_s:.0f} s: temporaries and bytes are "
               "those of another compiler.")
    return (f"{where.name}: {where.chips} x {where.chip.name} in {islands}, {found.hosts} host{'s' * (found.hosts > 1)}; mesh "
            f"{dict(found.mesh)}; {found.parameters:,} parameters, batch {found.batch:,}.\n{how}")


def _memory(found: Estimate) -> str:
    lines = [f"Memory of a chip{'MB':>24}"]
    lines += [f"  {name:<28}{size / 1e6:>10,.1f}" for name, size in found.memory.items()]
    room = found.topology.chip.memory_gb * GB
    lines.append(f"  {'together':<28}{found.total / 1e6:>10,.1f}  of {room / 1e6:,.0f}: "
                 f"{'fits' if found.fits else 'DOES NOT FIT'} ({100 * found.total / room:.0f} %)")
    return "\n".join(lines)


def _work(found: Estimate) -> str:
    per_pair = found.flops * found.topology.chips / found.pairs
    return (f"Work of a step on a chip\n  {found.flops / 1e9:,.2f} GFLOP, {per_pair / 1e9:,.2f} per pair; "
            f"{found.bytes / 1e6:,.1f} MB to and from memory")


def _collectives(found: Estimate) -> str:
    lines = [f"Communication of a step{'':<13}{'count':>6}{'MB':>12}{'among':>7}{'islands':>9}{'ms':>9}"]
    lines += [f"  {purpose + ': ' + kind:<34}{count:>6}{size / 1e6:>12,.4f}{group:>7}{islands:>9}{1e3 * took:>9.3f}"
              for (purpose, kind, group, islands), (count, size, took) in found.collectives.items()]
    return "\n".join(lines) if len(lines) > 1 else "Communication of a step: none"


def _time(found: Estimate) -> str:
    parts = {"compute": found.compute_s, "memory": found.memory_s, "network": found.network_s}
    low, high = found.step_s
    lines = ["Time of a step at the chip's peak rates"] + [f"  {name:<10}{1e3 * took:>10.3f} ms" for name, took in parts.items()]
    lines.append(f"  bound by {max(parts, key=lambda name: parts[name])}: {1e3 * low:.3f} ms where all overlaps, "
                 f"{1e3 * high:.3f} ms where nothing does")
    return "\n".join(lines)


def _run(found: Estimate, steps: int, price: Price | None) -> str:
    low, high = found.step_s
    hours = [steps * took / 3600 for took in (low, high)]
    chips = [found.topology.chips * took for took in hours]
    lines = [f"The run of {steps:,} steps, {steps * found.pairs:,} pairs, at least",
             f"  {found.pairs / high:,.0f} to {found.pairs / low:,.0f} pairs/s; {hours[0]:,.2f} to {hours[1]:,.2f} hours; "
             f"{chips[0]:,.1f} to {chips[1]:,.1f} chip-hours"]
    if price is None:
        lines.append("  cost: give the price of a chip-hour and its day, --price=1.20@2026-11-21")
    else:
        cost = [price.per_hour * hours for hours in chips]
        lines.append(f"  cost: {cost[0]:,.2f} to {cost[1]:,.2f} at {price.per_hour:g} per chip-hour, the price of {price.date}")
    return "\n".join(lines)


def _input(found: Estimate, pairs_per_visit: int) -> str:
    low, _ = found.step_s
    rows = found.batch / found.hosts / low
    return (f"Input: so that no chip waits, each of {found.hosts} host{'s' * (found.hosts > 1)} delivers up to\n"
            f"  {rows:,.0f} rows/s from {rows / pairs_per_visit:,.0f} visits to files, {rows * found.row_bytes / 1e6:,.1f} MB/s "
            "(benchmarks/input.py measures what a host can)")
