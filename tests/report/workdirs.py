"""Work directories as a run leaves them, and a parser that checks the page made from one."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from avc_jax import report

REPO = Path(__file__).parents[2]
VOID = {"meta", "link", "img", "br", "input", "hr"}


class Page(HTMLParser):
    """Parses a page and keeps its tags; fails on tags that do not nest."""

    def __init__(self, source: str):
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        assert len({name for name, _ in attrs}) == len(attrs), f"doubled attribute in {tag} {attrs}"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open and self._open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if not {"script", "style"} & set(self._open):
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Attributes of every element of a kind."""
        return [attrs for name, attrs in self.tags if name == tag]

    def text(self) -> str:
        """What the page says, with plain spaces."""
        return re.sub(r"\s+", " ", "".join(self.words))


def make_pairs(folder: Path, n: int = 4, side: int = 64, rate: int = 8000, clip: str = "a/b.mp4") -> None:
    """Writes n pairs, true and false in turn, of noise: the worst case for size."""
    rng = np.random.default_rng(0)
    np.savez(
        folder / "pairs.npz",
        frame=rng.integers(0, 256, (n, side, side, 3), dtype=np.uint8),
        waveform=rng.integers(-32768, 32768, (n, rate), dtype=np.int16),
        spectrogram=rng.normal(size=(n, 257, 199)).astype(np.float32),
        score=np.linspace(0.9, 0.2, n, dtype=np.float32),
        label=(np.arange(n) % 2 == 0).astype(np.int32),
        frame_clip=np.array([clip] * n),
        sound_clip=np.array([clip if i % 2 == 0 else f"c/{i}.mp4" for i in range(n)]),
        frame_s=np.arange(n) * 0.5,
        sound_s=np.arange(n) * 0.25,
        rate_hz=rate,
        window_s=1.0,
    )


def make_metrics(folder: Path, steps: int = 60, end: str = "") -> None:
    """Writes one line every 10 steps, with an evaluation every 30."""
    rows = []
    for step in range(10, steps + 1, 10):
        rows.append(
            {
                "step": step,
                "time": 1763640000.0 + step,
                "train/loss": 0.7 - step / 1000,
                "train/accuracy": 0.5 + step / 1000,
                "train/steps_per_s": 5.0,
                "train/pairs_per_s": 320.0,
                "train/data_wait": 0.03,
                "train/lr": 1e-4,
            }
        )
        if step % 30 == 0:
            rows.append({"step": step, "evaluate/avc/accuracy": 0.5 + step / 2000})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + end)


def make_results(folder: Path, **changes) -> None:
    """Writes results.json and config.json; `changes` replace parts of the results."""
    config = {"system": {"name": "l3net"}, "train": {"batch_size": 64, "rates": [1, 2]}, "empty": {}}
    results = {
        "command": "python -m avc_jax.main --config=c.py --workdir=w",
        "train": {
            "step": 60,
            "steps": 60,
            "params_sha256": "ab" * 32,
            "parameters": 9504898,
            "seconds": 276.0,
        },
        "evaluate": {
            "avc": {"accuracy": 0.91, "ci95": [0.88, 0.94], "clips": 240, "split": "heldout", "step": 60}
        },
        "data": {
            "root": "/data/city",
            "clips": 1500,
            "splits": {"train": 1260, "test": 240},
            "quarantined": 25,
        },
        "versions": {"jax": "0.10.2"},
    }
    (folder / "results.json").write_text(json.dumps(results | changes))
    (folder / "config.json").write_text(json.dumps(config))


def make_quarantine(folder: Path, n: int = 25) -> None:
    """Writes n quarantined files."""
    row = {"kind": "no_audio", "reason": "The file has no sound track."}
    lines = (json.dumps({"path": f"q/{i}.mp4"} | row) + "\n" for i in range(n))
    (folder / "quarantine.jsonl").write_text("".join(lines))


def check(folder: Path) -> Page:
    """Writes the page and checks what holds for every page."""
    path = report.write(folder)
    assert path == folder / "report.html"
    assert [p.name for p in folder.iterdir() if p.name.startswith(".")] == []
    assert path.stat().st_size < 10_000_000
    page = Page(path.read_text(encoding="utf-8"))
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("h1")) == len(page.all("main")) == 1
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for tag, attrs in page.tags:
        for name in ("src", "href", "xlink:href", "action", "poster", "srcset"):
            assert (attrs.get(name) or "#").startswith(("#", "data:")), (tag, attrs[name][:80])
        assert not any(name.startswith("on") for name in attrs)
        assert "url(" not in (attrs.get("style") or "")
        for name in ("aria-labelledby", "href"):
            target = (attrs.get(name) or "").removeprefix("#")
            assert target.startswith("data:") or not target or target in ids
    assert all(attrs.get("alt") for attrs in page.all("img"))
    assert all(attrs.get("aria-label") for attrs in page.all("audio"))
    assert not re.search(r"(@import|url\()", (REPO / "avc_jax/report/page.css").read_text())
    return page
