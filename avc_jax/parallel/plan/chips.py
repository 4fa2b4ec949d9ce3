"""What is published about accelerators: the one table that plans stand on. docs/plan.md tells how each fact is used."""

import dataclasses
from collections.abc import Mapping

_V5E = "https://docs.cloud.google.com/tpu/docs/v5e"
_V5P = "https://docs.cloud.google.com/tpu/docs/v5p-training"
_V6E = "https://docs.cloud.google.com/tpu/docs/v6e"
_H100 = "https://glennklockwood.com/garden/processors/h100, after NVIDIA's whitepaper of the H100"
_H200 = "https://www.aiminingco.com/gpu/h200/specs; NVIDIA's own page was not at hand"
_NODE = "https://github.com/mlcommons/inference_results_v4.1, closed/NVIDIA/systems/H200-SXM-141GBx8_TRT_MaxQ.json"
_JAX = "https://docs.jax.dev/en/latest/201/precision.html"


@dataclasses.dataclass(frozen=True)
class Chip:
    """An accelerator. GB are 10^9 bytes; rates of networks are of one direction, all links of a chip together.

    Attributes:
      name: as its maker calls it.
      tpu: whether it is one, whose programs can be compiled here; those of GPUs are estimated.
      flops_per_s: precision of the config -> peak of its matrix units. float32 is what JAX does by default with such inputs: one
        pass in bfloat16 on a TPU, TensorFloat-32 on a GPU.
      memory_gb, memory_gb_per_s: of its own memory.
      near_gb_per_s: to the chips of its slice (TPU) or node (GPU).
      far_gb_per_s: its share of its host's network, to other slices or nodes.
      node: chips of a GPU node; of a TPU the compiler knows.
      sources: fact -> where it was read, and what is uncertain about it.
    """

    name: str
    tpu: bool
    flops_per_s: Mapping[str, float]
    memory_gb: float
    memory_gb_per_s: float
    near_gb_per_s: float
    far_gb_per_s: float
    node: int
    sources: Mapping[str, str]


def _tpu(name: str, page: str, tflops: float, memory_gb: float, memory_gb_per_s: float, near_gb_per_s: float, far_gb_per_s: float,
         near: str, far: str) -> Chip:
    return Chip(name, True, dict.fromkeys(("bfloat16", "float32"), tflops * 1e12), memory_gb, memory_gb_per_s, near_gb_per_s,
                far_gb_per_s, 0, {"flops_per_s": f"{page}; that float32 runs at the rate of bfloat16: {_JAX}", "memory_gb": page,
                                  "memory_gb_per_s": page, "near_gb_per_s": f"{page}: {near}", "far_gb_per_s": f"{page}: {far}"})


def _hopper(name: str, page: str, memory_gb: float, memory_gb_per_s: float) -> Chip:
    return Chip(name, False, {"bfloat16": 989.4e12, "float32": 494.7e12}, memory_gb, memory_gb_per_s, 450.0, 50.0, 8, {
        "flops_per_s": f"{_H100}, without sparsity; that float32 runs as TensorFloat-32: {_JAX}; both GPUs have the same cores",
        "memory_gb": page, "memory_gb_per_s": page,
        "near_gb_per_s": f"{_NODE}: NVLinks of 900 GB/s together, half of it in each direction",
        "far_gb_per_s": f"{_NODE}: network cards of 400 Gb/s; that each GPU has one is usual, not certain: clusters differ"})


CHIPS = {
    "v5e": _tpu("TPU v5e", _V5E, 197, 16, 819, 200, 3.125,
                "half of 400 GB/s of both directions, which is the all-reduce bandwidth of a pod, 51.2 TB/s, per chip",
                "2 x 100 Gb/s for the 8 chips of a host, 6.4 Tb/s for the 256 of a pod"),
    "v5p": _tpu("TPU v5p", _V5P, 459, 95, 2765, 600, 6.25,
                "half of 1200 GB/s of both directions", "50 Gb/s per chip"),
    "v6e": _tpu("TPU v6e", _V6E, 918, 32, 1638, 400, 12.5,
                "half of 800 GB/s of both directions, which is the all-reduce bandwidth of a pod, 102.4 TB/s, per chip",
                "4 x 200 Gb/s for the 8 chips of a host, 25.6 Tb/s for the 256 of a pod; in earlier versions of the page, not "
                "in the newest"),
    "h100": _hopper("NVIDIA H100 SXM", _H100, 80, 3350),
    "h200": _hopper("NVIDIA H200 SXM", _H200, 141, 4800),
}


_COLUMNS = {"memory_gb": "memory, GB", "memory_gb_per_s": "its rate, GB/s", "near_gb_per_s": "near, GB/s",
            "far_gb_per_s": "far, GB/s"}


def describe() -> str:
    """The table and its sources in Markdown, for docs/plan.md."""
    heads = ["chip", "bfloat16, TFLOP/s", "float32", *_COLUMNS.values()]
    lines = [heads, ["---"] * len(heads)]
    for key, chip in CHIPS.items():
        numbers = [chip.flops_per_s[precision] / 1e12 for precision in ("bfloat16", "float32")]
        numbers += [getattr(chip, name) for name in _COLUMNS]
        lines.append([f"`{key}` {chip.name}", *(f"{number:g}" for number in numbers)])
    said: dict[str, list[str]] = {}
    for key, chip in CHIPS.items():
        for fact, source in chip.sources.items():
            said.setdefault(source, []).append(f"{key} {_COLUMNS.get(fact, 'TFLOP/s').partition(',')[0]}")
    sources = [f"- {', '.join(facts)}: {source}." for source, facts in said.items()]
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", *sources])


if __name__ == "__main__":
    print(describe())
