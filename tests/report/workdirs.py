"""Work directories as a run leaves them, and a parser that checks the page made from one."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Protocol

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


def make_pairs(folder: Path, n: int = 4, side: int = 64, rate: int = 8000, clip: str = "a/b.mp4", seconds: int = 1) -> None:
    """Writes n pairs, true and false in turn, of noise: the worst case for size."""
    rng = np.random.default_rng(0)
    np.savez(
        folder / "pairs.npz",
        frame=rng.integers(0, 256, (n, side, side, 3), dtype=np.uint8),
        waveform=rng.integers(-32768, 32768, (n, rate * seconds), dtype=np.int16),
        spectrogram=rng.normal(size=(n, 257, 199)).astype(np.float32),
        hz=np.tile(np.linspace(0, rate / 2, 257), (n, 1)),
        score=np.linspace(0.9, 0.2, n, dtype=np.float32),
        label=(np.arange(n) % 2 == 0).astype(np.int32),
        frame_clip=np.array([clip] * n),
        sound_clip=np.array([clip if i % 2 == 0 else f"c/{i}.mp4" for i in range(n)]),
        frame_s=np.arange(n) * 0.5,
        sound_s=np.arange(n) * 0.25,
        rate_hz=rate,
        window_s=float(seconds),
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
        "goodput": {"wall_s": 400.0, "processes": 2, "parts": {"init": 20.0, "compile": 40.0, "data_wait": 8.0, "step": 260.0,
                                                               "evaluate": 40.0, "save": 12.0, "lost": 20.0}},
    }
    (folder / "results.json").write_text(json.dumps(results | changes))
    (folder / "config.json").write_text(json.dumps(config))


def make_quarantine(folder: Path, n: int = 25) -> None:
    """Writes n quarantined files."""
    row = {"kind": "no_audio", "reason": "The file has no sound track."}
    lines = (json.dumps({"path": f"q/{i}.mp4"} | row) + "\n" for i in range(n))
    (folder / "quarantine.jsonl").write_text("".join(lines))


CLASSES = ("bell", "bird", "clock", "drum", "engine", "fire", "flute", "guitar", "rain", "siren", "telephone", "waves")


def make_evaluations(folder: Path, classes: tuple[str, ...] = CLASSES) -> None:
    """Adds what evaluators say to results.json."""
    def row(name, trained, untrained, chance, form="share", note="", lower_is_better=False):
        return dict(name=name, trained=trained, untrained=untrained, chance=chance, form=form, note=note,
                    lower_is_better=lower_is_better)

    def transfer(share):
        rng = np.random.default_rng(1)
        confusion = np.zeros((len(classes), len(classes)), int)
        for true in range(len(classes)):
            right = np.clip(share + rng.normal() * 0.12, 0.1, 1.0)
            for _ in range(40):
                confusion[true, true if rng.random() < right else (true + int(rng.integers(1, 4))) % len(classes)] += 1
        good = confusion.diagonal() / 40
        return {
            "accuracy": float(good.mean()), "classes": list(classes), "confusion": confusion.tolist(),
            "per_class": {name: {"accuracy": float(value), "clips": 40} for name, value in zip(classes, good, strict=True)},
            "folds": [{"fold": str(k), "accuracy": float(good.mean() + 0.01 * (k - 3)), "cost": 0.01, "clips": 96}
                      for k in range(1, 6)],
        }

    def pictures(quality):
        return {"clips": 240, "neighbours": {"video": quality, "audio": quality - 0.05}, "neighbours_chance": 0.08,
                "units": {name: {"shown": 6, "agreement": quality, "selectivity": 7 * quality} for name in ("video", "audio")},
                "localised": 0.5 + quality / 3}

    def retrieval(share):
        def direction(size):
            return {"recall": {"1": share, "5": 2 * share, "10": 2.2 * share}, "median_rank": 3.5, "asked": size, "official": 240,
                    "interval": {"recall": {k: [share - 0.01, 3 * share] for k in ("1", "5", "10")}, "median_rank": [3, 4.5]},
                    "candidates": size, "chance_recall": {"1": 1 / size, "5": 5 / size, "10": 10 / size},
                    "chance_median_rank": (size + 1) / 2}

        told = {"recall": direction(9)["recall"], "precision": share, "chance_recall": {"1": 0.1}, "chance": 0.1}
        words = told | {"words": [{"word": name, "clips": 20} | told for name in classes[:3]]}
        return {"tie_rule": "average", "denominator": "official", "by_word": {"sound to video": words},
                "directions": {"sound to video": direction(232) | {"subsets": {name: direction(30) for name in classes[:2]}},
                               "video to sound": direction(232), "video to video": {"ndcg": 0.5}}}

    ours, theirs, now, before = transfer(0.8), transfer(0.55), pictures(0.86), pictures(0.34)
    results = json.loads((folder / "results.json").read_text())
    results["evaluate"]["avc"]["rows"] = [row("Pairs judged right", 0.91, 0.503, 0.5, note="240 clips, two pairs of each.")]
    results["evaluate"] |= {
        "transfer": {"trained": ours, "untrained": theirs, "step": 60, "rows": [
            row("Accuracy, mean of 5 folds", ours["accuracy"], theirs["accuracy"], 1 / len(classes))]},
        "clustering": {"step": 60, "rows": [row("NMI of frames", 0.409, 0.204, 0.165, "number", "k-means with 64 clusters."),
                                            row("NMI of sounds", 0.33, 0.219, 0.165, "number")]},
        "retrieval": {"trained": retrieval(0.4), "untrained": retrieval(0.02), "step": 60, "rows": [
            row("Median rank, image to sound", 7, 118, 120.5, "number", "The smaller the better.", True),
            row("Recall at 1, sound to image", 0.02, 0.021, 0.004)]},
        "pictures": {"trained": now, "untrained": before, "step": 60, "rows": [
            row("Nearest neighbour of the same class, frames", 0.86, 0.34, 0.08),
            row("Sound found in its frame", now["localised"], before["localised"], 0.5)]},
        "dimensions": {"trained": {"concepts": 9, "dimensions": 512, "different": 7, "shuffled_concepts": 0.4},
                       "untrained": {"concepts": 1}, "rows": []},
        "probe": {"note": "was left out: no clip has a label."},
    }
    (folder / "results.json").write_text(json.dumps(results))


class Media(Protocol):
    """What sheets are made of: the number of a clip -> its frame uint8[s, s, 3] and its sound int16[rate_hz]."""

    def __call__(self, number: int) -> tuple[np.ndarray, np.ndarray]: ...


def noise(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Media that do not compress: the worst case for size."""
    rng = np.random.default_rng(number)
    return rng.integers(0, 256, (64, 64, 3), dtype=np.uint8), rng.integers(-32768, 32768, 8000, dtype=np.int16)


def spot(rows: int, columns: int, at: tuple[float, float], width: float = 0.15) -> np.ndarray:
    """float32[rows, columns] with a hill at a place given as shares (down, right)."""
    y, x = np.mgrid[:rows, :columns]
    return np.exp(-(((y + 0.5) / rows - at[0]) ** 2 + ((x + 0.5) / columns - at[1]) ** 2) / (2 * width**2)).astype(np.float32)


def make_pictures(folder: Path, media: Media = noise, units: int = 3, labels: tuple[str, ...] = CLASSES, shown: int = 4) -> None:
    """Writes what the evaluator `pictures` leaves: sheets of units, spaces of both networks, places of sounds."""
    (folder / "pictures").mkdir(exist_ok=True)
    rng = np.random.default_rng(2)
    frames, sounds = (np.stack(part) for part in zip(*(media(k) for k in range(5 * units)), strict=True))
    rate = sounds.shape[1]
    window, hop = np.hanning(rate // 50), rate // 200
    windows = np.lib.stride_tricks.sliding_window_view(sounds / 32768, len(window), 1)[:, ::hop] * window
    levels = np.log(np.maximum(np.abs(np.fft.rfft(windows)), 1e-6)).swapaxes(1, 2).astype(np.float32) / 5

    def grid(values):
        return np.asarray(values).reshape(units, 5, *np.shape(values)[1:])

    own = np.array([labels[k % len(labels)] for k in range(units)])
    label = np.repeat(own[:, None], 5, 1)
    label[-1, 3:] = labels[(units + 3) % len(labels)]
    hills = [(rng.uniform(0.25, 0.75), rng.uniform(0.25, 0.75)) for _ in range(5 * units)]
    both = dict(
        unit=np.arange(units) * 17 + 3, unit_label=own, agree=(label == own[:, None]).sum(1),
        selectivity=np.linspace(7, 4, units), clip=grid([f"clips/{k:04d}.mp4" for k in range(5 * units)]), label=label,
        frame=grid(frames), activation=grid(np.linspace(4, 2, 5 * units)), frame_s=grid(np.full(5 * units, 1.5)),
        sound_s=grid(np.full(5 * units, 1.0)))
    np.savez(folder / "pictures/units_video.npz", heat=grid([spot(*frames.shape[1:3], at) for at in hills]), **both)
    np.savez(folder / "pictures/units_audio.npz", heat=grid([spot(*levels.shape[1:], at) for at in hills]),
             waveform=grid(sounds), spectrogram=grid(levels), hz=np.tile(np.linspace(0, rate / 2, levels.shape[1]), (units, 1)),
             rate_hz=rate, window_s=1.0, **both)
    of_clip = np.array([labels[k % len(labels)] for k in range(240)])
    for name, tight in (("trained", 3.0), ("untrained", 14.0)):
        centres = rng.normal(size=(len(labels), 2)) * 15
        points = {modality: centres[np.arange(240) % len(labels)] + rng.normal(size=(240, 2)) * tight
                  for modality in ("video", "audio")}
        np.savez(folder / f"pictures/space_{name}.npz", label=of_clip, **points)
        np.savez(folder / f"pictures/localisation_{name}.npz", clip=both["clip"].ravel()[:shown], label=label.ravel()[:shown],
                 frame_s=np.full(shown, 1.5), sound_s=np.full(shown, 1.0), own=np.linspace(0.8, 0.6, shown),
                 other=np.linspace(0.3, 0.1, shown), frame=frames[:shown], waveform=sounds[:shown], rate_hz=rate,
                 heat=np.stack([spot(*frames.shape[1:3], at, 0.12 if name == "trained" else 0.4) for at in hills[:shown]]))


def make_rankings(folder: Path, media: Media = noise, rankings: int = 4, labels: tuple[str, ...] = CLASSES) -> None:
    """Writes what the evaluators `retrieval` and `dimensions` leave: rankings, dimensions, and the media of both."""
    (folder / "pictures").mkdir(exist_ok=True)
    frames, sounds = (np.stack(part) for part in zip(*(media(100 + k) for k in range(6)), strict=True))
    clips = np.array([f"clips/{k:04d}.mp4" for k in range(7)])  # the last one has no media
    texts = np.array([f"this is a {labels[k % len(labels)]}" for k in range(7)])
    query, found = np.arange(rankings) % 6, (np.arange(rankings)[:, None] + np.arange(5)) % 7
    direction, score = np.array(["sound to video", "video to sound"]), np.linspace(9, -3, 5)
    np.savez(folder / "pictures/retrieval.npz", direction=direction[np.arange(rankings) % 2],
             query=clips[query], query_text=texts[query], query_media=query, found=clips[found], found_text=texts[found],
             found_media=np.where(found < 6, found, -1), own=found == query[:, None], score=np.tile(score, (rankings, 1)))
    shown, words = np.arange(15).reshape(3, 5) % 7, np.array([labels[k % len(labels)] for k in range(3)])
    np.savez(folder / "pictures/dimensions.npz", dimension=np.array([3, 77, 500]), word=words,
             f1=np.array([0.8, 0.5, 0.31]), clip=clips[shown], text=texts[shown], has=shown % 2 == 0,
             contribution=np.tile(np.linspace(4, 2, 5), (3, 1)), media=np.where(shown < 6, shown, -1))
    for name in ("retrieval", "dimensions"):
        np.savez(folder / f"pictures/{name}_media.npz", frame=frames, waveform=sounds, rate_hz=sounds.shape[1],
                 seen=np.ones(6, bool), heard=np.ones(6, bool))


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
