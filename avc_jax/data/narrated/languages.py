"""What is said of a scene: a word or two for each of its features, and the order of the sentence.

The texts are written for the voices of espeak-ng, which spells out Chinese characters but reads kana and Devanagari.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from avc_jax.data.narrated.scenes import COLOURS, GROUNDS, MOTIONS, SHAPES, SIZES, Scene


@dataclasses.dataclass(frozen=True)
class Language:
    """Words for the features of a scene; `template` says where they go."""

    template: str
    colours: Mapping[str, str]
    shapes: Mapping[str, str]
    sizes: Mapping[str, str]
    motions: Mapping[str, str]
    grounds: Mapping[str, str]


def _words(keys: Iterable[str], text: str) -> dict[str, str]:
    return dict(zip(keys, text.split("|"), strict=True))


LANGUAGES = {
    "en": Language(
        "a {size} {colour} {shape} {motion} {ground}",
        {name: name for name in COLOURS}, {name: name for name in SHAPES}, {name: name for name in SIZES},
        _words(MOTIONS, "moves left|moves right|goes up|goes down|blinks|grows"),
        _words(GROUNDS, "on plain ground|over stripes|over checks|over dots")),
    "ja": Language(
        "{ground} {size} {colour} {shape}が {motion}",
        _words(COLOURS, "あかい|だいだいいろの|きいろい|みどりの|あおい|むらさきの|しろい|くろい"),
        _words(SHAPES, "まる|しかく|さんかく|ほし|わっか|じゅうじ|ハート|つき"),
        _words(SIZES, "ちいさい|おおきい"),
        _words(MOTIONS, "ひだりに うごく|みぎに うごく|あがる|さがる|てんめつする|ふくらむ"),
        _words(GROUNDS, "むじの うえで|しまの うえで|いちまつの うえで|みずたまの うえで")),
    "hi": Language(
        "{ground} एक {size} {colour} {shape} {motion}",
        _words(COLOURS, "लाल|नारंगी|पीला|हरा|नीला|बैंगनी|सफ़ेद|काला"),
        _words(SHAPES, "गोला|चौकोर|त्रिकोण|तारा|छल्ला|क्रॉस|दिल|चाँद"),
        _words(SIZES, "छोटा|बड़ा"),
        _words(MOTIONS, "बाएँ चलता है|दाएँ चलता है|ऊपर जाता है|नीचे जाता है|टिमटिमाता है|बढ़ता है"),
        _words(GROUNDS, "सादे परदे पर|धारियों पर|चौखानों पर|बिंदुओं पर")),
}


def sentence(scene: Scene, language: str) -> str:
    """What a voice says of a scene in a language (a key of LANGUAGES)."""
    own = LANGUAGES[language]
    return own.template.format(size=own.sizes[scene.size], colour=own.colours[scene.colour], shape=own.shapes[scene.shape],
                               motion=own.motions[scene.motion], ground=own.grounds[scene.ground])
