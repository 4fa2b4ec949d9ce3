"""Words of captions and labels, and which clips have them."""

from pathlib import Path
from types import SimpleNamespace

from avc_jax.data.sources import Clip
from avc_jax.evaluators import vocabulary


def source(labels, captions=None):
    clips = tuple(Clip(f"{n}.mp4", n, "test", label) for n, label in enumerate(labels))
    made = SimpleNamespace(root=Path("."), clips=clips)
    if captions is not None:
        made.items = tuple(SimpleNamespace(text=texts[2] if len(texts) > 2 else "", captions=SimpleNamespace(texts=texts[:2]))
                           for texts in captions)
    return made


def test_captions_are_words_and_labels_are_whole():
    found = source(["dog barks", "dog barks", "", ""], [["Chop the ONION,", "don't cry"], [], [], ["one", "two", "the one"]])
    assert vocabulary.captions(found) == ["Chop the ONION, don't cry", "", "", "the one"]
    assert vocabulary.texts(found) == ["Chop the ONION, don't cry", "dog barks", "", "the one"]
    assert vocabulary.terms(found) == [{"chop", "the", "onion", "don't", "cry"}, {"dog barks"}, set(), {"the", "one"}]
    assert vocabulary.terms(source(["a", ""])) == [{"a"}, set()]
    assert vocabulary.words("たまねぎ を 切る; naïve_two 3") == {"たまねぎ", "を", "切る", "naïve", "two", "3"}


def test_common_words_are_neither_rare_nor_everywhere():
    clips = [frozenset(words.split()) for words in ("the pan", "the pan egg", "the egg pan", "the salt", "the", "the oven")]
    words, has = vocabulary.common(clips, least=2, most=0.5)
    assert words == ("pan", "egg")
    assert has.tolist() == [[True, False], [True, True], [True, True], [False, False], [False, False], [False, False]]
    words, has = vocabulary.select(clips, ["oven", "kettle"])
    assert words == ("oven", "kettle") and has.sum(axis=0).tolist() == [1, 0]
