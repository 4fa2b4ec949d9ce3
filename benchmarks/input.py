"""The input layer beside what a user would pick instead: pairs of a random frame and a second of sound, per second.

    python benchmarks/input.py --videos=FOLDER

Everybody does the same job on the same moments of the same files: a random frame, its shorter side scaled to 256 pixels, a random
crop of 224, one second of sound at 48 kHz, its log-spectrogram; in batches of 20 from videos, of 120 from records. Each
contestant runs in a process of its own that is confined to the same cores, with one worker per core, and warms up before it is
timed; contestants take turns. A rate is the median of the rounds, a ratio the median of what each round gives. Peers
(benchmarks/input_peers.py says how they are used) come with requirements-bench.txt; one that is not installed is left out. A pair
of avc_jax is counted when its batch is ready for the device; its spectrogram is computed by JAX on the same cores, where a
training run computes it on the device.
"""

import argparse
import concurrent.futures
import itertools
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

BATCH = {"videos": 20, "records": 120}
# name -> (what it reads, pairs per visit, key of the implementation, options)
CONTESTANTS = {
    "avc_jax, k=1": ("videos", 1, "ours", {}),
    "avc_jax, k=10": ("videos", 10, "ours", {}),
    "avc_jax, k=10, one core": ("videos", 10, "ours", {"cores": 1}),
    "avc_jax, key frames, k=1": ("videos", 1, "ours", {"frame_choice": "keyframe"}),
    "avc_jax, key frames, k=10": ("videos", 10, "ours", {"frame_choice": "keyframe"}),
    "torchcodec, one access per pair": ("videos", 1, "torch", {"peer": "torchcodec"}),
    "PyAV, one access per pair": ("videos", 1, "torch", {"peer": "pyav"}),
    "decord2, one access per pair": ("videos", 1, "torch", {"peer": "decord2"}),
    "torchcodec, ten in one call": ("videos", 10, "torch", {"peer": "torchcodec"}),
    "decord2, ten in one call": ("videos", 10, "torch", {"peer": "decord2"}),
    "limit: bare libav decode, k=10": ("videos", 10, "decode", {}),
    "avc_jax records": ("records", 10, "ours", {}),
    "avc_jax records, no spectrogram": ("records", 10, "ours", {"sounds": "pcm"}),
    "avc_jax records, k=1, no spectrogram": ("records", 1, "ours", {"sounds": "pcm"}),
    "avc_jax records, no spectrogram, one core": ("records", 10, "ours", {"sounds": "pcm", "cores": 1}),
    "DataLoader, simplejpeg": ("records", 10, "torch", {"peer": "simplejpeg"}),
    "DataLoader, Pillow": ("records", 10, "torch", {"peer": "pillow"}),
    "DataLoader, simplejpeg, no spectrogram": ("records", 10, "torch", {"peer": "simplejpeg", "sounds": "pcm"}),
    "limit: bare JPEG decode-and-crop": ("records", 10, "jpeg", {}),
    "limit: bare JPEG decode-and-crop, one core": ("records", 10, "jpeg", {"cores": 1}),
    "limit: bare JPEG decode-and-crop, TensorFlow's": ("records", 10, "tf_jpeg", {}),
    "limit: bare JPEG decode-and-crop, TensorFlow's, one core": ("records", 10, "tf_jpeg", {"cores": 1}),
    "limit: bare read": ("records", 10, "read", {}),
}
NEEDS = {"torchcodec": "torchcodec", "pyav": "torch", "decord2": "decord", "simplejpeg": "torch", "pillow": "torch"}


def make_config(videos: str, records: str, what: str, frame_choice: str = "any"):
    """The paper's sizes."""
    from configs.flickr import get_config

    config = get_config()
    config.data.source, config.data.root = ("folder", videos) if what == "videos" else ("records", records)
    config.data.split, config.data.frame_choice, config.data.pairing = "all", frame_choice, "shared"
    return config


def make_reader(config, k: int):
    """A reader of all clips; the plan, and so the moments, depend on k only."""
    from avc_jax.data import sources, visit
    from avc_jax.data.moments import make_format
    from avc_jax.data.plan import Plan
    from avc_jax.data.quarantine import Quarantine

    source = sources.open_source(config)
    plan = Plan(len(source.clips), 0, BATCH["records" if source.stored_side else "videos"], k)
    return visit.Reader(source, plan, make_format(config), Quarantine(None, source.num_files, 0.5), pairing="shared")


# Contestants: each yields once when it is warm, then the number of pairs of each batch. -----------------------------------


def ours(config, k: int, work, workers: int, sounds: str = "spectrogram"):
    import jax

    from avc_jax import audio
    from avc_jax.data import pipeline

    reader, names = make_reader(config, k), ("frame", "waveform", "label", "file")
    spectrograms = jax.jit(lambda waveform: audio.log_spectrogram(
        waveform / np.float32(32768), window=480, hop=240, fft_length=512, floor=1e-12, scale=0.2))

    def batches(count: int):
        per_step = reader.plan.visits_per_step
        if reader.source.stored_side:
            return itertools.islice(pipeline.train_batches(reader, first_step=0, threads=workers, ahead=2, names=names),
                                    count // per_step)
        ahead = max(2 * per_step, pipeline.LEAD * workers)
        stream = pipeline.read_in_parallel(reader.train, count, reader.shapes, threads=workers, ahead=ahead)
        return pipeline.disperse(reader.plan, pipeline._chunks(stream, per_step), names)

    def run(count: int):
        for batch in batches(count):
            if sounds == "spectrogram":
                jax.block_until_ready(spectrograms(batch["waveform"]))
            yield len(batch["frame"])

    for _ in run(12 * reader.plan.visits_per_step):
        pass
    yield 0
    yield from run(len(work))
    if not reader.source.stored_side:
        yield (k - 1) * reader.plan.batch_size  # read, and in the window of the disperser


def torch_peer(config, k: int, work, workers: int, peer: str, sounds: str = "spectrogram"):
    from input_peers import loader

    form = {"short_side": 256, "size": 224, "window_s": 1.0, "rate_hz": 48000}
    batch = BATCH["records" if config.data.source == "records" else "videos"] // k
    batches = loader(work, form, peer, sounds=sounds, workers=workers, batch=batch)
    for _ in batches:
        pass
    yield 0
    for frames, _, failed in batches:
        for line in failed:
            print("failed:", line, file=sys.stderr)
        yield 0 if frames is None else len(frames)


def bare_decode(config, k: int, work, workers: int):
    """Every picture and sound of the visited files through libav, in threads, and nothing else."""
    import av

    def decode(visit) -> int:
        with av.open(visit["path"]) as container:
            streams = container.streams.video[0], container.streams.audio[0]
            for stream in streams:
                stream.codec_context.thread_count, stream.codec_context.thread_type = 1, "NONE"
            for packet in container.demux(*streams):
                packet.decode()
        return k

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        list(pool.map(decode, work[: 2 * workers]))
        yield 0
        yield from pool.map(decode, work)


def bare_jpeg(config, k: int, work, workers: int):
    """The same JPEGs, already in memory, through our decoder in threads, to batches of crops that nobody keeps."""
    batches = jpegs_of_batches(config, k, work)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda crops: len(np.asarray(crops)), batches[: 2 * workers]))
        yield 0
        yield from pool.map(lambda crops: len(np.asarray(crops)), batches)


def bare_tf_jpeg(config, k: int, work, workers: int):
    """The same through TensorFlow's decoder, which decodes the rows of the crop alone, in TensorFlow's threads."""
    import tensorflow as tf

    batches = jpegs_of_batches(config, k, work)
    side = batches[0].cut.side
    options = tf.data.Options()
    options.autotune.enabled, options.threading.private_threadpool_size = False, workers

    def inputs(number) -> list[np.ndarray]:
        jpegs = np.array([crop.jpeg for crop in batches[number]], object)
        return [jpegs, np.array([(crop.y, crop.x, side, side) for crop in batches[number]], np.int32)]

    def decode(number):
        jpegs, windows = tf.numpy_function(inputs, [number], [tf.string, tf.int32])
        return tf.map_fn(lambda one: tf.io.decode_and_crop_jpeg(*one, channels=3), (jpegs, tf.ensure_shape(windows, [None, 4])),
                         parallel_iterations=1, fn_output_signature=tf.uint8)

    def run(count: int):
        dataset = tf.data.Dataset.range(count).with_options(options).map(decode, num_parallel_calls=workers)
        return map(len, dataset.as_numpy_iterator())

    for _ in run(2 * workers):
        pass
    yield 0
    yield from run(len(batches))


def jpegs_of_batches(config, k: int, work) -> list:
    """`jpegs.Crops` of each batch."""
    reader = make_reader(config, k)
    return [reader.train(*reader.plan.rows(step))["frame"] for step in range(len(work) * k // reader.plan.batch_size)]


def bare_read(config, k: int, work, workers: int):
    """The bytes of each frame and second, from the page cache."""
    def read(visit) -> int:
        for jpeg, pcm, begin in zip(visit["jpeg"], visit["pcm"], visit["begin"], strict=True):
            Path(jpeg).read_bytes()
            with open(pcm, "rb", buffering=0) as file:
                os.pread(file.fileno(), 96000, 2 * begin)
        return k

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        list(pool.map(read, work))
        yield 0
        yield from pool.map(read, work)


RUN = {"ours": ours, "torch": torch_peer, "decode": bare_decode, "jpeg": bare_jpeg, "tf_jpeg": bare_tf_jpeg, "read": bare_read}


def contest(args) -> None:
    """Runs one contestant in this process and prints what it did as JSON."""
    what, k, run, options = CONTESTANTS[args.contestant]
    options, work = dict(options), json.loads(Path(args.work).read_text())[f"{what} {k}"]
    workers = options.pop("cores", args.cores)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:workers])
    config = make_config(args.videos, args.records, what, options.pop("frame_choice", "any"))
    pairs = RUN[run](config, k, work, workers, **options)
    next(pairs)
    began = time.perf_counter()
    count = sum(pairs)
    print(json.dumps({"pairs": int(count), "seconds": time.perf_counter() - began}))


def memory(args) -> None:
    """Reads args.samples pairs and prints the resident memory on the way, in MB."""
    from avc_jax.data import pipeline

    config = make_config(args.videos, args.records, args.memory, "keyframe" if args.memory == "videos" else "any")
    batches = pipeline.train_batches(make_reader(config, 10), first_step=0, threads=args.cores, ahead=2,
                                     names=("frame", "waveform"))
    found = {}
    size = BATCH[args.memory]
    marks = {round(share * args.samples / size) for share in (0.1, 0.5, 1)}
    for step, _ in enumerate(itertools.islice(batches, max(marks)), start=1):
        if step in marks:
            found[step * size] = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") // 10**6
    print(json.dumps(found))


# The contest --------------------------------------------------------------------------------------------------------------


def write_work(args, folder: Path) -> None:
    """Writes what each contestant reads: the moments that avc_jax visits, and the frames and sounds of records as files."""
    from avc_jax.data.records import layout
    from avc_jax.data.records.example import parse
    from avc_jax.data.records.shard import open_shard

    contents = {}
    for row in layout.read_index(Path(args.records)):
        if "shard" in row:
            content = parse(open_shard(Path(args.records) / row["shard"]).read([row["record"]])[0])
            stem = folder / str(len(contents))
            stem.with_suffix(".pcm").write_bytes(content.sound.tobytes())
            for number, frame in enumerate(content.frames):
                stem.with_name(f"{stem.name}-{number}.jpg").write_bytes(frame)
            contents[row["clip"].path] = content, stem
    work = {}
    for what, k in sorted({(what, k) for what, k, *_ in CONTESTANTS.values()}):
        reader = make_reader(make_config(args.videos, args.records, what), k)
        per_step = reader.plan.visits_per_step
        steps = 30 * args.visits if what == "records" else args.visits * len(reader.source.clips) // per_step
        visits = steps * per_step
        work[f"{what} {k}"] = [_moments(args, reader, visit, contents) for visit in range(visits)]
    (folder / "work.json").write_text(json.dumps(work))


def _moments(args, reader, visit: int, contents) -> dict:
    pairs = reader.train(visit)
    path = reader.source.clips[pairs["clip"][0]].path
    content, stem = contents[path]
    frames = np.clip(np.searchsorted(content.frame_s, pairs["frame_s"] + 5e-4, side="right") - 1, 0, None)
    begins = np.clip(np.rint((pairs["sound_s"] - content.sound_start_s) * 48000).astype(int), 0, len(content.sound) - 48000)
    return {"path": str(Path(args.videos) / path), "frame_s": pairs["frame_s"].tolist(), "sound_s": pairs["sound_s"].tolist(),
            "place": reader.plan.draws(np.array([visit])).crop[0].tolist(), "begin": begins.tolist(),
            "jpeg": [str(stem.with_name(f"{stem.name}-{number}.jpg")) for number in frames],
            "pcm": [str(stem.with_suffix(".pcm"))] * len(frames)}


def child(args, *flags: str) -> dict | None:
    """What a child process printed; None if it failed, with its last words on stderr."""
    found = subprocess.run(
        [sys.executable, __file__, f"--videos={args.videos}", f"--records={args.records}", f"--cores={args.cores}", *flags],
        capture_output=True, text=True, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": "cpu"})
    failed = [line for line in found.stderr.splitlines() if line.startswith("failed:")]
    for line in sorted(set(failed))[:3]:
        print(f"  {flags[0]} {line}", file=sys.stderr)
    if found.returncode:
        print(f"  {flags[0]} failed: {found.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    return json.loads(found.stdout.splitlines()[-1]) | ({"failed": len(failed)} if failed else {})


def installed(module: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(module) is not None


def measure(args, folder: Path) -> list[dict[str, float]]:
    """Of each round, contestant -> pairs per second."""
    names = [name for name, (*_, options) in CONTESTANTS.items()
             if re.search(args.only, name) and ("peer" not in options or installed(NEEDS[options["peer"]]))]
    rounds: list[dict[str, float]] = [{} for _ in range(args.rounds)]
    for number, rates in enumerate(rounds):
        for name in names:
            found = child(args, f"--contestant={name}", f"--work={folder / 'work.json'}")
            if found is not None:
                rates[name] = found["pairs"] / found["seconds"]
                note = f", {found['failed']} visits failed" if "failed" in found else ""
                print(f"  round {number + 1}: {name}: {rates[name]:.1f} pairs/s ({found['pairs']} pairs{note})",
                      file=sys.stderr)
    return rounds


def medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    """name -> median over the rounds that have it."""
    names = dict.fromkeys(name for values in rounds for name in values)
    return {name: statistics.median(values[name] for values in rounds if name in values) for name in names}


def goals(rate: dict[str, float]) -> dict[tuple[str, float | None], float]:
    """(what, goal if any) -> ratio of each comparison that a round allows: minutes apart, the machine is another one."""
    usual = max((value for name, value in rate.items() if "one access" in name), default=None)
    at_once = max((value for name, value in rate.items() if "ten in one" in name), default=None)
    jpeg, jpeg_one_core = (max((value for name, value in rate.items() if "JPEG" in name and ("one core" in name) == one),
                               default=None) for one in (False, True))
    rows = [
        ("containers, k=10, to the best peer's one access per pair", "avc_jax, k=10", usual, 4.0),
        ("containers, k=10, to the best peer's ten in one call", "avc_jax, k=10", at_once, 1.0),
        ("containers, k=10, to the bare decoding of the whole files", "avc_jax, k=10", "limit: bare libav decode, k=10", 0.85),
        ("containers, k=1, to the best peer's one access per pair", "avc_jax, k=1", usual, 1.0),
        ("key frames, k=1, to the best peer's one access per pair", "avc_jax, key frames, k=1", usual, 1.0),
        ("key frames, k=10, to the best peer's one access per pair", "avc_jax, key frames, k=10", usual, 10.0),
        ("containers, k=10, two cores to one", "avc_jax, k=10", "avc_jax, k=10, one core", 1.8),
        ("records to the bare decoding of JPEGs", "avc_jax records, no spectrogram", jpeg, 0.85),
        ("records to the bare decoding of JPEGs, one core", "avc_jax records, no spectrogram, one core", jpeg_one_core, 0.85),
        ("records, k=1, to the bare decoding of JPEGs", "avc_jax records, k=1, no spectrogram", jpeg, 0.85),
        ("records to the DataLoader's fastest", "avc_jax records", "DataLoader, simplejpeg", 1.5),
        ("records to the DataLoader's fastest, no spectrogram", "avc_jax records, no spectrogram",
         "DataLoader, simplejpeg, no spectrogram", 1.5),
        ("records, two cores to one", "avc_jax records, no spectrogram", "avc_jax records, no spectrogram, one core", 1.8),
        # What the machine makes of a second core where there is nothing but decoding.
        ("bare decoding of JPEGs, two cores to one", "limit: bare JPEG decode-and-crop",
         "limit: bare JPEG decode-and-crop, one core", None),
    ]
    found = {}
    for what, name, other, goal in rows:
        base = rate.get(other) if isinstance(other, str) else other
        if name in rate and base:
            found[what, goal] = rate[name] / base
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", required=True, help="folder of videos, searched recursively")
    parser.add_argument("--records", default="", help="records made of them; made in a temporary folder by default")
    parser.add_argument("--cores", type=int, default=min(2, len(os.sched_getaffinity(0))), help="workers, and cores to run on")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--visits", type=int, default=2, help="visits to each clip in a round")
    parser.add_argument("--samples", type=int, default=20_000, help="pairs read to watch the memory; 0: none")
    parser.add_argument("--only", default="", help="only contestants in whose name this regular expression is found")
    for internal in ("contestant", "work", "memory"):
        parser.add_argument(f"--{internal}", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.contestant or args.memory:
        (contest if args.contestant else memory)(args)
        return
    with tempfile.TemporaryDirectory() as folder:
        if not args.records:
            args.records = f"{folder}/records"
            subprocess.run([sys.executable, "-m", "avc_jax.prepare", f"--videos={Path(args.videos).resolve()}",
                            f"--out={args.records}"], check=True, cwd=HERE.parent, stdout=subprocess.DEVNULL)
        write_work(args, Path(folder))
        rounds = measure(args, Path(folder))
        resident = {what: child(args, f"--memory={what}", f"--samples={args.samples}") for what in ("records", "videos")
                    if args.samples}
    print(f"\n{time.strftime('%Y-%m-%d')}, {args.cores} cores ({platform.machine()}), {args.rounds} rounds\n")
    print("| | pairs/s |\n|---|---|")
    for name, value in medians(rounds).items():
        print(f"| {name} | {value:.1f} |")
    print("\n| | ratio | of the rounds | goal |\n|---|---|---|---|")
    ratios = [goals(rates) for rates in rounds]
    for key, ratio in medians(ratios).items():
        what, goal = key
        each = ", ".join(f"{found[key]:.2f}" for found in ratios if key in found)
        print(f"| {what} | {ratio:.2f} | {each} | {goal or '-'} |")
    for what, found in resident.items():
        if found:
            print(f"\nResident memory while reading {what}: " + ", ".join(f"{mb} MB after {n} pairs" for n, mb in found.items()))


if __name__ == "__main__":
    main()
