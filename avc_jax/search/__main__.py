"""Finds files by what is heard and seen in them.

    python -m avc_jax.search index --checkpoint=runs/mine --inputs=FOLDER --out=INDEX
    python -m avc_jax.search --index=INDEX --ask=sound.wav
    python -m avc_jax.search --index=INDEX --ask=clip.mp4 --as=picture --at=3.5 --top=20 --page=found.html
    python -m avc_jax.search --index=INDEX --words="mix well" --word_vectors=GoogleNews-vectors-negative300.bin

The first embeds a folder; given again, it embeds what is new or changed, and drops what is gone. The others list the nearest
files, and write a page that shows and plays them. Bad files are told, listed in INDEX/quarantine.jsonl, and do not stop the
others; the exit code is then 65. Else they are those of avc_jax.main. docs/search.md says what is compared with what.
"""

import sys
from collections.abc import Callable

from absl import flags

from avc_jax import command, errors
from avc_jax.train.guard import Guard

_INDEX_FLAGS = flags.FlagValues()  # of this command alone, so that others can be imported beside it
_CHECKPOINT = flags.DEFINE_string("checkpoint", "", "Work directory of a run, or a model folder, with a common space; by default "
                                  "the one that the index was made with.", flag_values=_INDEX_FLAGS)
_INPUTS = flags.DEFINE_multi_string("inputs", [], "A file, a folder (searched recursively) or a glob (** goes down folders) to "
                                    "add; may be given several times. What was added before stays.", flag_values=_INDEX_FLAGS)
_FORGET = flags.DEFINE_multi_string("forget", [], "Inputs of earlier commands to leave out.", flag_values=_INDEX_FLAGS)
_OUT = flags.DEFINE_string("out", "", "Folder of the index, made if it does not exist.", flag_values=_INDEX_FLAGS)
_HOP_S = flags.DEFINE_float("hop_s", 0.0, "Seconds from one window of a file to the next; 0: the length of a window.",
                            lower_bound=0.0, flag_values=_INDEX_FLAGS)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Windows embedded at once; rounded up to a multiple of the devices.",
                                   lower_bound=1, flag_values=_INDEX_FLAGS)
_MOST_EXACT = flags.DEFINE_integer("exact_rows", 1_000_000, "Up to so many windows of a kind, all are compared with a question. "
                                   "More get lists, of which faiss (an extra: pip install faiss-cpu) looks into the nearest.",
                                   lower_bound=0, flag_values=_INDEX_FLAGS)

_FLAGS = flags.FlagValues()
_INDEX = flags.DEFINE_string("index", "", "Folder of the index.", flag_values=_FLAGS)
_ASK = flags.DEFINE_string("ask", "", "A sound, an image or a video to ask with.", flag_values=_FLAGS)
_AS = flags.DEFINE_enum("as", None, ["sound", "picture", "clip"], "What of it to ask with; by default whatever it holds.",
                        flag_values=_FLAGS)
_WORDS = flags.DEFINE_string("words", "", "Words to ask with, alone or beside a file, where the network takes words.",
                             flag_values=_FLAGS)
_VECTORS = flags.DEFINE_string("word_vectors", "", "File of word2vec vectors; by default the one that the network was trained "
                               "with.", flag_values=_FLAGS)
_AT = flags.DEFINE_float("at", None, "The moment to ask about, in seconds: the window of sound that starts there, the frame on "
                         "screen; by default the mean of all windows.", flag_values=_FLAGS)
_AMONG = flags.DEFINE_enum("among", None, ["sounds", "pictures", "both"], "What to compare with; by default what the system is "
                           "made for: a sound with pictures, a picture with sounds.", flag_values=_FLAGS)
_TOP = flags.DEFINE_integer("top", 10, "How many files to list.", lower_bound=1, flag_values=_FLAGS)
_PAGE = flags.DEFINE_string("page", "", "An HTML file to write, with frames, players and scores.", flag_values=_FLAGS)
_ASK_CHECKPOINT = flags.DEFINE_string("checkpoint", "", "Where the checkpoint of the index lies now, if it was moved.",
                                      flag_values=_FLAGS)
_EXACT = flags.DEFINE_bool("exact", False, "Compare all windows, also of an index with lists.", flag_values=_FLAGS)


def main(argv: list[str]) -> int:
    """Runs the command and returns its exit code."""
    if argv[1:2] == ["index"]:
        return command.run_with([argv[0], *argv[2:]], __name__, _INDEX_FLAGS, lambda: _guarded(_make_index))
    return command.run_with(argv, __name__, _FLAGS, lambda: _guarded(_ask))


def _guarded(run: Callable[[Guard], None]) -> None:
    with Guard() as guard:
        run(guard)


def _make_index(guard: Guard) -> None:
    from avc_jax.search.build import Wish, refresh
    from avc_jax.search.index import Store

    wish = Wish(_INPUTS.value, _FORGET.value, _CHECKPOINT.value, _HOP_S.value, _MOST_EXACT.value, _BATCH_SIZE.value)
    with Store(_OUT.value) as store:
        index = refresh(store, wish, guard, sys.stderr)
        bad = [file for file in index.files if file.failures]
        if bad:
            raise errors.DataError(f"{len(bad)} of {len(index.files)} files could not be read, or not all of them: see "
                                   f"{store.folder / 'quarantine.jsonl'}. All that could be read is in the index.")


def _ask(guard: Guard) -> None:
    if not _ASK.value and not _WORDS.value:
        raise errors.ConfigError("--ask is missing: name a sound, an image or a video to ask with, or words (--words).")
    from avc_jax.search.index import load

    index = load(_INDEX.value)
    # These import JAX, which takes seconds.
    from avc_jax.search import ask, build, page
    from avc_jax.search.network import Network

    network = Network(_ASK_CHECKPOINT.value or index.facts["checkpoint"], index.facts["hop_s"], batch_size=32)
    build.check_network(index, network.facts(), "make the index anew")
    words = ask.Words(_WORDS.value, _VECTORS.value) if _WORDS.value else None
    asked = ask.question(network, _ASK.value, _AS.value, _AT.value, guard.raise_if_stopped, words, index)
    answer = ask.answer(index, asked, network.model.system.directions, among=_AMONG.value, top=_TOP.value, exact=_EXACT.value)
    for number, hit in enumerate(answer.hits, 1):
        file = index.files[hit.file]
        own = "  (the file you asked with)" if file.path == asked.path or file.digest == asked.digest else ""
        found = page.WORDS.get(hit.modality, hit.modality)
        print(f"{number:4d}  {hit.score:8.4f}  {found:7s}  {hit.time_s:9.2f} s  {file.path}{own}")
    sys.stdout.flush()  # the list comes first where both go the same way
    print(page.told(index, answer), file=sys.stderr)
    if _PAGE.value:
        page.write(_PAGE.value, index, asked, answer, network.model.config, _INDEX.value)
        print(f"The page is {_PAGE.value}.", file=sys.stderr)


if __name__ == "__main__":
    command.end(main(sys.argv))
