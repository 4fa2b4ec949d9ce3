"""The schema of every config: each key with its type, its default, its bounds, and one line of help.

Apart from the code that reads configs, so that a system can declare its keys without ml_collections being there.
"""

import dataclasses
import difflib
import importlib
from typing import Any

from avc_jax import errors


@dataclasses.dataclass(frozen=True)
class Key:
    """One config key. Its type is the type of its default; an int is accepted where a float is expected.

    Attributes:
      default: the value unless a config file or flag says otherwise.
      help: one line, shown in errors and in docs/config.md.
      low, high: inclusive bounds for numbers (for each element of a tuple).
      choices: the values allowed, if they are few.
      free: True if the key may change when a run resumes, because it cannot change what is learned.
    """

    default: Any
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[Any, ...] = ()
    free: bool = False


# The sources of avc_jax/data/items.
ITEM_SOURCES = ("features", "howto100m", "clip_pickles", "spoken_captions")

# What only says which clips there are may change on resume: the work directory knows the list of clips by its digest.
_DATA = dict(
    source=Key("folder", "Where clips come from: files in a folder, records made of them by avc_jax.prepare, demo clips rendered "
               "into the folder first; or items (docs/items.md): features of videos made by avc_jax.features, HowTo100M's "
               "published features, pickles of clips, or pictures with spoken captions.",
               choices=("folder", "records", "rendered", *ITEM_SOURCES), free=True),
    root=Key("", "Folder that holds the videos (searched recursively), the records, or the items.", free=True),
    manifest=Key("", "CSV beside or inside root with path[,split,label,start_s,end_s]; empty: every video found, or the list "
                 "that the layout of the items has.", free=True),
    split=Key("train", "Split to train on: train, validation, test, all, or a name in the manifest."),
    evaluate_split=Key("heldout", "Split to evaluate on; heldout means every clip that is not in data.split.",
                       free=True),
    split_fractions=Key((0.8, 0.1, 0.1), "Shares of train, validation, test, by a stable hash of the path, where "
                        "no manifest gives splits.", low=0.0, high=1.0, free=True),
    pairing=Key("independent", "How false pairs are made: sound of another file (independent, the paper), the batch's own sounds "
                "rolled by one (shared: half the cost), or none, where the loss compares all rows of a batch with each other.",
                choices=("independent", "shared", "none")),
    pairs_per_visit=Key(1, "Pairs taken from one visit to a file; they land in different batches, see data.together.", low=1,
                        high=1000),
    together=Key(False, "The pairs of one visit land in one batch, as AVLnet's 32 clips of a film do."),
    frame_choice=Key("any", "Which frames pairs are drawn from: any of the clip, or only key frames (the last one before "
                     "the moment), which are read two to three times as fast but are few.", choices=("any", "keyframe")),
    window_s=Key(1.0, "Length of the sound of a pair, in seconds.", low=0.05, high=60.0),
    sound=Key("waveform", "Items: sounds are decoded from media (waveform), or read as stored log-mel spectrograms.",
              choices=("waveform", "spectrogram")),
    streams=Key("2d+3d", "Items: which stored features of the picture make a video, in this order.",
                choices=("2d+3d", "2d", "3d")),
    clip_choice=Key("random", "Items: what training takes of a film: windows of window_s (random), captions with what is around "
                    "them (captions), or its beginning with all of its features (whole). Clips that are stored as clips, and "
                    "spoken captions, are whole in any case.", choices=("random", "captions", "whole")),
    min_clip_s=Key(8.0, "clip_choice=captions: a caption takes in its neighbours until it is this long, in seconds; AVLnet-Text: "
                   "8 with branches of their own, 10 with fusion.", low=0.0, high=3600.0),
    captions=Key("", "Items: file of captions (JSON, pickle or CSV), or folder of a CSV for each video, beside or inside root; "
                 "empty: none, or those of the layout.", free=True),
    language=Key("", "Spoken captions: the language to read of lists with keys of several, such as hindi_wav and english_wav; "
                 "empty: the only one, or the one that the name of the list says.", free=True),
    word_vectors=Key("", "Items: file of word2vec vectors, in its binary or text format.", free=True),
    max_words=Key(20, "Items: words of a caption that are kept.", low=1, high=1000),
    frame_short_side=Key(256, "Frames are scaled so that the shorter side has this many pixels.", low=8, high=4096),
    frame_size=Key(224, "Side of the square crop, in pixels.", low=8, high=4096),
    quarantine_budget=Key(0.05, "Share of files that may be bad before the run stops (one file always may, unless 0).",
                          low=0.0, high=1.0, free=True),
    decode_threads=Key(0, "Files decoded at once; 0: one per core.", low=0, high=1024, free=True),
    decode_limit_s=Key(60.0, "Seconds after which a file that is still being decoded is given up and counts as bad.", low=0.1,
                       high=86400.0, free=True),
    decode_memory_mb=Key(2048, "Megabytes that decoding a file may take; one that wants more is bad.", low=64, high=1 << 20,
                         free=True),
    patience_s=Key(600.0, "Seconds to wait for a folder, disk or shard that is away, before the run stops.", low=0.0,
                   high=1e6, free=True),
    prefetch_batches=Key(2, "Batches held ready on the host.", low=1, high=64, free=True),
    rendered_clips=Key(2048, "source=rendered: how many clips to render.", low=32, high=1_000_000, free=True),
)

_AUDIO = dict(
    rate_hz=Key(48000, "Sounds are resampled to this rate, mono.", low=1000, high=192000),
    front_end=Key("log", "log: log-magnitudes of an STFT with the keys below (the paper); linear, mel128, mel256: the inputs of "
                  "OpenL3, in decibels, with its FFT of 512 (linear) or 2048 and its hop of 242 samples; mel40: AVLnet's and "
                  "ResDAVEnet's 40 mel bands in decibels, at 16 kHz.",
                  choices=("log", "linear", "mel128", "mel256", "mel40")),
    mel_form=Key("kapre", "front_end=mel*: as OpenL3's published weights were trained with (kapre), or as its later front end "
                 "(librosa; librosa_reflect with a librosa before 0.10).", choices=("kapre", "librosa", "librosa_reflect")),
    mel40_border=Key("reflect", "front_end=mel40: how a sound goes on beyond its ends: mirrored (reflect: a librosa before 0.10, "
                     "as for AVLnet's and ResDAVEnet's weights) or zeros (later ones).", choices=("reflect", "zeros")),
    mel40_window=Key("symmetric", "front_end=mel40: Hamming's window of 400 samples, symmetric (as the published code makes it) "
                     "or periodic.", choices=("symmetric", "periodic")),
    stft_window_s=Key(0.01, "Length of the STFT window (periodic Hann), in seconds.", low=0.001, high=0.2),
    stft_hop_s=Key(0.005, "Step between STFT windows, in seconds.", low=0.0005, high=0.2),
    fft_length=Key(0, "FFT length in samples; 0: the next power of two of the window.", low=0, high=65536),
    log_floor=Key(1e-12, "Magnitudes are floored here before the logarithm.", low=1e-18, high=1.0),
    log_scale=Key(0.2, "The log-magnitude is multiplied by this.", low=1e-6, high=1e6),
)

_AUGMENT = dict(
    flip=Key(True, "Mirror half of the training frames."),
    brightness=Key(32 / 255, "Largest change of brightness, as a share of the full range.", low=0.0, high=1.0),
    saturation=Key((0.5, 1.5), "Range of the factor on HSV saturation.", low=0.0, high=10.0),
    gain=Key((0.9, 1.1), "Range of the factor on the whole second of sound.", low=0.0, high=10.0),
)

# How a run starts from train.init_from. Patterns are over the paths of variables; a * stands for any text, slashes included, and
# commas part patterns.
_INIT = dict(
    load=Key("*", "Patterns of the variables to load, such as audio/*; the others start anew."),
    reinit=Key("", "Patterns of variables that start anew although config.init.load means them."),
    freeze=Key("", "Patterns of variables that training does not change (with or without a checkpoint)."),
    freeze_statistics=Key(True, "Whether running statistics that config.init.freeze means stay as they are."),
    optimizer=Key("fresh", "fresh: from the parameters that evaluation uses, with an optimizer that remembers nothing; kept: "
                  "from a run's last parameters, with its moments. The schedule starts anew.", choices=("fresh", "kept")),
    allow_partial=Key(False, "Whether to go on where variables are missing, left over or of another shape, or the checkpoint is "
                      "of another system or variant; results.json lists what did not fit."),
)

_OPTIMIZER = dict(
    name=Key("adam", "Update rule.", choices=("adam", "sgd")),
    lr=Key(1e-4, "Peak learning rate.", low=0.0, high=1e3),
    schedule=Key("constant", "Shape of the learning rate after warm-up; cosine ends at train.steps.",
                 choices=("constant", "cosine", "exponential")),
    warmup_steps=Key(0, "Steps of linear warm-up from zero.", low=0, high=10**9),
    decay_rate=Key(0.94, "schedule=exponential: factor applied every decay_steps.", low=0.0, high=1.0),
    decay_steps=Key(10000, "schedule=exponential: steps between factors.", low=1, high=10**9),
    decay_early=Key(0, "schedule=exponential: steps by which the factors come early; where epochs count from 1, an epoch.", low=0,
                    high=10**9),
    momentum=Key(0.9, "name=sgd: momentum.", low=0.0, high=1.0),
    weight_decay=Key(1e-5, "Weight decay on kernels.", low=0.0, high=1.0),
    weight_decay_form=Key("l2", "l2: weight_decay * sum(W^2) is part of the loss (the paper's code); "
                          "decoupled: as in AdamW.", choices=("l2", "decoupled")),
    clip_norm=Key(0.0, "Clip gradients to this global norm; 0: never.", low=0.0, high=1e9),
)

_TRAIN = dict(
    steps=Key(234375, "Steps to train for; 0: none, so that what a run starts from is evaluated.", low=0, high=10**9, free=True),
    init_from=Key("", "What the network starts from, as the section init says: the workdir of a run (its newest valid "
                  "checkpoint) or a model folder; empty: it starts anew. A run that resumes does not read it again."),
    batch_size=Key(256, "Pairs per step, over all devices and hosts (shared pairing scores twice as many).",
                   low=2, high=1 << 20),
    seed=Key(0, "Seed of parameters, order and random choices.", low=0, high=2**31 - 1),
    accumulate=Key(1, "Split each batch into this many pieces and add up their gradients.", low=1, high=1024),
    precision=Key("float32", "Precision of the computation; parameters are always float32.",
                  choices=("float32", "bfloat16")),
    remat=Key(False, "Recompute activations in the backward pass to save memory."),
    ema_decay=Key(0.0, "Decay of the moving average of parameters that evaluation uses; 0: none.", low=0.0, high=0.999999),
    nonfinite_budget=Key(10, "Steps with a non-finite loss or gradient that are skipped before the run stops.",
                         low=0, high=10**9, free=True),
    checkpoint_every=Key(1000, "Steps between checkpoints; the last step is always saved.", low=1, high=10**9, free=True),
    keep_checkpoints=Key(3, "Checkpoints kept.", low=1, high=1000, free=True),
    emergency_folder=Key("", "Folder on another disk that takes the state where the work directory cannot be written; with one "
                         "process only. Empty: none.", free=True),
    evaluate_every=Key(5000, "Steps between evaluations; 0: only at the end.", low=0, high=10**9, free=True),
    log_every=Key(50, "Steps between lines of metrics.", low=1, high=10**9, free=True),
    profile_at=Key(-1, "Step at which to record a profile; -1: never.", low=-1, high=10**9, free=True),
    profile_steps=Key(5, "Steps in the profile.", low=1, high=1000, free=True),
    compilation_cache=Key(True, "Keep compiled programs on disk, so that a restart does not compile again.", free=True),
    watchdog_s=Key(1800, "Seconds without a step, or a batch of an evaluation, after which the stacks of all threads are printed "
                   "and the run ends with exit code 134; 0: never.", low=0, high=10**6, free=True),
)

_MESH = dict(
    data=Key(-1, "Devices along the data axis; -1: all that are left.", low=-1, high=10**6, free=True),
    fsdp=Key(1, "Devices along the axis that parameters are sharded over.", low=1, high=10**6, free=True),
    tensor=Key(1, "Devices that share the outputs of each large kernel, and see the same rows.", low=1, high=10**6, free=True),
    rules=Key("", "Where variables lie otherwise: PATTERN=PLACEMENT, parted by semicolons; for each of the last axes of an array "
              "the placement says fsdp, tensor, fsdp+tensor or -, such as */kernel=-,tensor. Moments lie as their variables.",
              free=True),
)

_PROCESSES = dict(
    roll_call_s=Key(300, "Seconds that processes of a run wait at its start until all of them are there.", low=1, high=10**5,
                    free=True),
    heartbeat_s=Key(100, "Seconds of silence after which JAX takes a process for dead and ends the others.", low=5, high=10**5,
                    free=True),
)

_EVALUATE = dict(
    batch_size=Key(0, "Pairs per evaluation step; 0: as in training.", low=0, high=1 << 20, free=True),
    max_clips=Key(2000, "Clips scored by an evaluation during training; the last one and --mode=evaluate score all; "
                  "0: always all.", low=0, high=10**9, free=True),
    seed=Key(0, "Seed of the moments and false pairs that are scored.", low=0, high=2**31 - 1, free=True),
    window_s=Key(0.0, "Length of the sounds that evaluation sees, in seconds; 0: data.window_s. AVLnet: 51.2 for YouCook2, 30.72 "
                 "for MSR-VTT.", low=0.0, high=600.0, free=True),
    pairs_on_page=Key(16, "True and false pairs shown on the report page.", low=0, high=200, free=True),
)

_WHEN = ("off", "end", "every")

# When each protocol of avc_jax/evaluators is asked.
_EVALUATORS = dict(
    avc=Key("every", "Correspondence of held-out frames and sounds. off: never; end: at the last step and with --mode=evaluate; "
            "every: also every train.evaluate_every steps.", choices=_WHEN, free=True),
    transfer=Key("end", "Classes of labelled sounds, by a linear SVM on the audio features.", choices=_WHEN, free=True),
    clustering=Key("end", "Agreement of k-means on the embeddings with the classes of held-out clips.", choices=_WHEN, free=True),
    concepts=Key("end", "Classes of held-out clips that single units stand for.", choices=_WHEN, free=True),
    probe=Key("end", "Classes of pictures, by a linear layer on the visual features.", choices=_WHEN, free=True),
    baselines=Key("off", "The supervised networks of the paper's table.", choices=_WHEN, free=True),
    retrieval=Key("end", "Videos found by sounds, sounds by videos and so on, for systems with a common space.", choices=_WHEN,
                  free=True),
    dimensions=Key("end", "Dimensions of a common space that stand for a word, by sound and by picture.", choices=_WHEN,
                   free=True),
    pictures=Key("end", "What excites units, where in a frame or sound, and maps of the embeddings, for the page.", choices=_WHEN,
                 free=True),
)

_TRANSFER = dict(
    dataset=Key("", "Labelled sounds that lie at transfer.root as their publishers lay them out; empty: transfer.manifest, or "
                "the labelled held-out clips.", choices=("", "esc50", "dcase2013_scenes"), free=True),
    variant=Key("", "Which variant of transfer.dataset (docs/datasets), such as esc10; empty: the usual one.", free=True),
    root=Key("", "Folder of the labelled sounds.", free=True),
    manifest=Key("", "CSV of path,label,fold; paths are relative to transfer.root, or where that is empty to the CSV.",
                 free=True),
    subclips=Key(10, "Equally spaced sounds of data.window_s that are taken from each (the paper: 10 of 5 s, 60 of 30 s).", low=1,
                 high=10_000, free=True),
    cost=Key(0.0, "Cost C of the SVM's errors; 0: the one of transfer.costs that does best on a training fold that is held back.",
             low=0.0, high=1e9, free=True),
    costs=Key((1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0), "Costs to choose among; the paper does not give its own.", low=1e-9, high=1e9,
              free=True),
)

_CLUSTERING = dict(
    clusters=Key(64, "Clusters of k-means.", low=2, high=1 << 16, free=True),
    average=Key("arithmetic", "Mean of the two entropies that the mutual information is divided by; the paper does not say.",
                choices=("arithmetic", "geometric", "max", "min"), free=True),
    restarts=Key(10, "Runs of k-means, of which the tightest is taken.", low=1, high=1000, free=True),
)

# Of the numbers of the ImageNet probe, the paper gives the architecture alone and refers to Inception-v3 (arXiv:1512.00567).
_PROBE = dict(
    dataset=Key("", "Pictures to classify: empty: frames of the run's own labelled clips; image_folder: train and val folders of "
                "folders of classes; or the name of a builder of TensorFlow Datasets, such as imagenet2012.", free=True),
    root=Key("", "Folder of probe.dataset: that of an image_folder, or the data_dir of the builder.", free=True),
    image_size=Key(0, "Side of the pictures of probe.dataset, in pixels; 0: as the network's frames.", low=0, high=4096,
                   free=True),
    steps=Key(2000, "Steps of training the linear layer; Inception's 100 epochs of ImageNet are 500,000 at batch 256.",
              low=1, high=10**9, free=True),
    batch_size=Key(256, "Pictures per step.", low=1, high=1 << 20, free=True),
    lr=Key(1e-3, "Learning rate of Adam at the first step.", low=0.0, high=1e3, free=True),
    lr_decay=Key(0.94, "Factor on the learning rate, applied lr_decays times, evenly spaced over the steps.",
                 low=0.0, high=1.0, free=True),
    lr_decays=Key(50, "How often; Inception-v3: every other epoch of 100.", low=1, high=10**6, free=True),
    label_smoothing=Key(0.1, "Share of the uniform distribution in the target.", low=0.0, high=1.0, free=True),
    augment=Key(True, "Cut, mirror and colour training pictures anew at every step; otherwise their features are computed once, "
                "from the centre, and kept in memory.", free=True),
    crop_area=Key((0.05, 1.0), "augment: range of the area of a crop, as a share of the picture's.", low=0.001, high=1.0,
                  free=True),
    crop_aspect=Key((0.75, 4 / 3), "augment: range of the width of a crop over its height.", low=0.01, high=100.0, free=True),
    brightness=Key(32 / 255, "augment: largest change of brightness, as a share of the full range.", low=0.0, high=1.0,
                   free=True),
    saturation=Key((0.5, 1.5), "augment: range of the factor on HSV saturation.", low=0.0, high=10.0, free=True),
)

_BASELINES = dict(
    steps=Key(10000, "Steps of training the supervised classifiers, and then again of training the fusion.",
              low=1, high=10**9, free=True),
    hidden=Key(128, "Units between a trunk and its classes.", low=1, high=1 << 16, free=True),
    validation=Key(0.1, "Share of the training files on which the threshold of direct combination is chosen.",
                   low=0.001, high=0.9, free=True),
)

_RETRIEVAL = dict(
    ties=Key("average", "Rank of an item whose score others share: the mean of their places (average), the first of them "
             "(optimistic), the last (pessimistic), or every one, so that a query counts several times (naive, as in the code of "
             "HowTo100M and AVLnet).", choices=("average", "optimistic", "pessimistic", "naive"), free=True),
    denominator=Key("official", "What hits are divided by: retrieval.official, so that clips that lack a modality count as not "
                    "found (official), the queries that could be asked (available), or the length of the list of ranks, longer "
                    "only with ties=naive (listed, as in the code of HowTo100M).",
                    choices=("official", "available", "listed"), free=True),
    official=Key(0, "Queries of the benchmark, such as 1000 of MSR-VTT or 3350 of YouCook2; 0: all held-out clips.", low=0,
                 high=10**9, free=True),
    candidates=Key("all", "Among what a clip's other half is looked for: every one that there is (all), or those of clips that "
                   "have both halves (complete, as in the code of AVLnet).", choices=("all", "complete"), free=True),
    resamples=Key(1000, "Draws of the bootstrap that intervals are made of; 0: no intervals.", low=0, high=10**6, free=True),
    subsets=Key("", "Subsets of the held-out clips in which recalls are told as well: a CSV of path,subset (such as Sounds and "
                "Speech of YouCook2), or label; empty: none.", free=True),
    words=Key("", "Words of captions, separated by commas, whose recalls and precision at 10 are told: clips that have the word, "
              "found by others that have it; empty: the 20 commonest that at most a fifth of the clips has.", free=True),
    shown=Key(4, "Queries of each direction whose nearest items are shown on the page.", low=0, high=100, free=True),
    k=Key(30, "Places of a ranking that nDCG looks at.", low=1, high=1000, free=True),
    gain=Key("exponential", "What relevance r is worth: r (linear) or 2^r - 1 (exponential); the paper does not say.",
             choices=("linear", "exponential"), free=True),
    relevance=Key("", "CSV of the relevance of classes to each other: a header of classes, and a row for each, its name first; "
                  "empty: 1 for the same class, else 0.", free=True),
    keep_query=Key(False, "Whether a query is among the candidates of its own modality, where it comes first; the paper does not "
                   "say.", free=True),
)

_DIMENSIONS = dict(
    top=Key(50, "Clips to which a dimension contributes most, whose words name it; a tenth of the clips where they are fewer.",
            low=1, high=100_000, free=True),
    f1=Key(0.3, "Least F1 between those clips and those that have the word.", low=0.0, high=1.0, free=True),
    least_clips=Key(5, "Words that fewer clips have name nothing; nor do those that more than half of them have.", low=1,
                    high=100_000, free=True),
    shuffles=Key(5, "Draws of shuffled words, whose count of concepts is told as chance.", low=0, high=1000, free=True),
    shown=Key(8, "Dimensions shown on the page, of different words.", low=0, high=24, free=True),
)

_PICTURES = dict(
    clips=Key(1000, "Held-out clips that are looked at: an evenly spaced choice of at most this many.", low=1, high=5000,
              free=True),
    units=Key(6, "Units shown of each modality.", low=1, high=24, free=True),
    localised=Key(8, "Frames shown with the places of their sounds.", low=1, high=24, free=True),
)

SECTIONS = dict(data=_DATA, audio=_AUDIO, augment=_AUGMENT, init=_INIT, optimizer=_OPTIMIZER, train=_TRAIN, mesh=_MESH,
                 processes=_PROCESSES, evaluate=_EVALUATE, evaluators=_EVALUATORS, transfer=_TRANSFER, clustering=_CLUSTERING,
                 probe=_PROBE, baselines=_BASELINES, retrieval=_RETRIEVAL, dimensions=_DIMENSIONS, pictures=_PICTURES)


def schema(system: str) -> dict[str, dict[str, Key]]:
    """section -> key -> Key, with the section `system` as the file of that system declares it (`CONFIG`).

    What a system needs of the other sections to be what it was published as are its `DEFAULTS`, "section.key" -> value, if it has
    any.

    Raises:
      ConfigError: there is no such system.
    """
    from avc_jax import systems

    if system not in systems.names():
        raise errors.ConfigError(
            f"config.system.name: found {system!r}, expected one of {', '.join(systems.names())}."
            + nearest(system, systems.names()))
    module = importlib.import_module(f"avc_jax.systems.{system}")
    own = dict(name=Key(system, "Which system: a file of avc_jax/systems.", choices=tuple(systems.names())))
    sections = {"system": own | module.CONFIG, **SECTIONS}
    for path, value in getattr(module, "DEFAULTS", {}).items():
        section, key = path.split(".")
        sections[section] = sections[section] | {key: dataclasses.replace(sections[section][key], default=value)}
    return sections


def nearest(found: Any, names: Any) -> str:
    """A question after the name that is most like what was found; empty if none is."""
    close = difflib.get_close_matches(str(found), [str(name) for name in names], n=1, cutoff=0.5)
    return f" Did you mean {close[0]}?" if close else ""
