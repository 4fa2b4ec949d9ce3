"""The model card: README.md of an export, from what model.json says. What nobody knows is called unknown."""

import html
import importlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from avc_jax.report.text import NONE, count, number, percent, short

UNKNOWN = "unknown"
# What model.json says in every folder; anything else is where the model comes from, in the words of who made it.
_KNOWN = ("made_by", "system", "step", "config", "inputs", "parameters", "params_sha256", "run", "programs", "formats",
          "versions")
# What each format is, and what its script needs.
_FORMATS = {
    "orbax": ("Every array, as an Orbax checkpoint in `variables/`.",
              "To read the arrays it needs orbax-checkpoint; to run the network, avc_jax, for which this folder is a model "
              "(`avc_jax.model.load`)."),
    "safetensors": ("Every array under its path in the tree of parameters, in `variables.safetensors`.",
                    "To read the arrays it needs safetensors; to run the network, avc_jax."),
    "stablehlo": ("Each program with its arrays inside, serialised by `jax.export`, in `stablehlo/`; for cpu, cuda and tpu.",
                  "It needs jax. How long later versions of jax read such files is what [jax promises]"
                  "(https://docs.jax.dev/en/latest/export/export.html#compatibility-guarantees)."),
    "savedmodel": ("A TensorFlow SavedModel with a signature for each program, in `savedmodel/`; for cpu, cuda and tpu.",
                   "It needs tensorflow."),
}


def render(description: dict[str, Any]) -> str:
    """The card as Markdown.

    Args:
      description: model.json of an export.
    """
    sections = (
        ("What it is", _identity), ("What it was trained on", _training), ("How well it does", _evaluation),
        ("What goes in", _inputs), ("What comes out", _outputs), ("How to use it", _use), ("Limits", _limits),
        ("Licence", _licence), ("Config", _config), ("Made with", _versions),
    )
    parts = [f"# A model of avc_jax: {description['system']}"]
    parts += [f"## {title}\n\n{section(description)}" for title, section in sections]
    return "\n\n".join(parts) + "\n"


def _identity(description: dict[str, Any]) -> str:
    system = importlib.import_module(f"avc_jax.systems.{description['system']}")
    step = description["step"]
    return (system.__doc__ or "").strip() + "\n\n" + _list([
        ("system", description["system"]),
        ("parameters", count(description["parameters"])),
        ("sha256 of the parameters", f"`{description['params_sha256']}`"),
        ("steps of training", count(step) if step else UNKNOWN),
        ("made by", description["made_by"]),
    ])


def _training(description: dict[str, Any]) -> str:
    run = description.get("run")
    others = {name: value for name, value in description.items() if name not in _KNOWN}
    told = [_list([(name, _plain(value)) for name, value in others.items()])] if others else []
    if run is None:
        return "\n\n".join(["Unknown: this model does not come from a run of avc_jax, or the run left no results.", *told])
    data, training = run["data"], run["train"]
    splits = ", ".join(f"{name} {count(clips)}" for name, clips in data.get("splits", {}).items())
    pairs = f"{count(training['pairs'])}, at step {count(training['step'])}" if "pairs" in training else UNKNOWN
    return "\n\n".join([_list([
        ("name of the data's folder", data.get("name", UNKNOWN)),
        ("clips", count(data["clips"]) if "clips" in data else UNKNOWN),
        ("clips by split", splits or UNKNOWN),
        ("trained on split", data.get("split", UNKNOWN)),
        ("files found to be bad", count(data["quarantined"]) if "quarantined" in data else UNKNOWN),
        ("sha256 of the list of clips", f"`{data['clips_sha256']}`" if "clips_sha256" in data else UNKNOWN),
        ("steps", f"{count(description['step'])} of {count(training['steps']) if 'steps' in training else UNKNOWN}"),
        ("pairs of frame and sound seen", pairs),
        ("what the videos show, where they are from, who is in them", UNKNOWN),
    ]), *told])


def _evaluation(description: dict[str, Any]) -> str:
    evaluations = description.get("run", {}).get("evaluate", {})
    if not evaluations:
        return "Unknown: no evaluation was recorded."
    rows, notes = [], []
    for name, found in evaluations.items():
        same = found.get("params_sha256") == description["params_sha256"]
        if not same:
            notes.append(f"**{name} was measured on other parameters than these, at step {found.get('step', UNKNOWN)}.**")
        rows += [(row["name"] + ("" if same else " (other parameters)"), *(_figure(row, key) for key in
                  ("trained", "untrained", "chance")), row.get("note", "")) for row in found["rows"]]
        if found.get("note"):
            notes.append(f"{name}: {_cell(found['note'])}")
    return "\n\n".join([
        "Beside the same network before its first step, and guessing, where these say something.",
        _table(("what", "this network", "untrained", "chance", "note"), rows), *notes])


def _figure(row: dict[str, Any], key: str) -> str:
    value = number(row.get(key))
    return percent(value) if row.get("form", "share") == "share" else short(value)


def _inputs(description: dict[str, Any]) -> str:
    used = {name: description["inputs"][name] for name in _used(description)}
    data, rate_hz = description["config"]["data"], description["config"]["audio"]["rate_hz"]
    told = {
        "frame": f"a picture of a video as it is to be seen (turned as the file says, square pixels, RGB), scaled so that the "
                 f"shorter side has {data['frame_short_side']} pixels; of that the {data['frame_size']} x {data['frame_size']} "
                 "pixels at the centre. In training, the crop is anywhere.",
        "waveform": f"{data['window_s']:g} s of sound, mixed down to one channel and resampled to {rate_hz} Hz, as loud as it "
                    "is; samples are integers with full scale 32768.",
    }
    rows = [(name, _shape(given["shape"]), given["dtype"], given["unit"]) for name, given in used.items()]
    return "\n\n".join([
        _table(("name", "shape", "dtype", "unit"), rows), *(f"**{name}** is {told[name]}" for name in used if name in told),
        "Scaling to floating point, spectrograms and whatever else comes first are part of the network."])


def _outputs(description: dict[str, Any]) -> str:
    rows = [(f"`{name}`", ", ".join(program["inputs"]),
             ", ".join(f"{output} {_shape(value['shape'])} {value['dtype']}" for output, value in program["outputs"].items()),
             "probability that frame and sound belong together" if name == "score" else "an embedding for each row")
            for name, program in description["programs"].items()]
    return _table(("program", "from", "gives", "which is"), rows)


def _use(description: dict[str, Any]) -> str:
    shapes = [f"{name}=np.zeros({(2, *description['inputs'][name]['shape'][1:])}, \"{description['inputs'][name]['dtype']}\")"
              for name in _used(description)]
    parts = ["Each format has a script beside it, short enough to copy from. It reads arrays from a file and writes what the "
             "network makes of them, and the export itself was read back with it. For programs, one input alone will do.\n\n"
             f"```python\nimport numpy as np\nnp.savez(\"inputs.npz\", {', '.join(shapes)})  # put yours in\n```"]
    for name, found in description["formats"].items():
        content, needs = _FORMATS[name]
        parts.append(f"### {name}\n\n{content} {size(found['bytes'])}. {needs}\n\n```sh\nmkdir -p results\n"
                     f"python use_{name}.py results inputs.npz\n```\n\n{_checked(found)}")
    return "\n\n".join(parts)


def _checked(found: dict[str, Any]) -> str:
    differs = f"by at most {found['largest_difference']:.2g} of the largest value."
    if found["holds"] == "arrays":
        return ("Read back in a process without avc_jax's code, every array is the same to the last bit. What the network makes "
                f"of them in another process differs from the live one {differs}")
    return f"Read back in a process without avc_jax's code, it differs from the live network {differs}"


def _limits(description: dict[str, Any]) -> str:
    return "\n".join([
        "- Inputs have these sizes and this sample rate; only the size of a batch is free.",
        f"- What was compared above was computed in {description['config']['train']['precision']} on a CPU, with random inputs. "
        "Programs for cuda and tpu are of the same source but were not run, and such devices may round products more coarsely.",
        "- Unknown: how it does on other kinds of videos than those it was trained on, how it treats people and languages, and "
        "whether its scores are calibrated. Measure before you rely on any of it.",
    ])


def _licence(description: dict[str, Any]) -> str:
    return ("**To be filled in by whoever publishes this model**; the export knows nothing about it. avc_jax itself is under "
            "Apache-2.0, which says nothing about these parameters, nor about the videos that they were learned from.")


def _config(description: dict[str, Any]) -> str:
    config = {section: dict(keys) for section, keys in description["config"].items()}
    for name in ("root", "manifest"):  # of the machine, not of the model
        config["data"][name] = str(config["data"][name]).rstrip("/").rpartition("/")[2]
    told = ""
    if "run" not in description:  # nobody trained it with the rest
        config = {section: config[section] for section in ("system", "audio")}
        told = "Of the network and its front end; how it was trained is unknown.\n\n"
    return f"{told}```json\n{json.dumps(config, indent=1)}\n```"


def _versions(description: dict[str, Any]) -> str:
    return _list(description["versions"].items())


def _used(description: dict[str, Any]) -> list[str]:
    """The inputs that some program takes."""
    taken = {name for program in description["programs"].values() for name in program["inputs"]}
    return [name for name in description["inputs"] if name in taken]


def _shape(shape: Sequence[Any]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def size(number_of_bytes: int) -> str:
    """Bytes in words: 37.7 MB."""
    return f"{number_of_bytes / 1e6:.1f} MB" if number_of_bytes >= 1e5 else f"{number_of_bytes / 1e3:.1f} kB"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _list(facts: Iterable[tuple[str, object]]) -> str:
    return "\n".join(f"- {_cell(name)}: {_cell(value)}" for name, value in facts)


def _cell(value: object) -> str:
    """A value that stays within its cell or line, whatever is in it."""
    return html.escape(" ".join(str(value).split()), quote=False).replace("|", "\\|") or NONE


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
