"""Retrieval in every direction of a system, with what is missing, among subsets, for classes and for words."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from evaluators import asking, brute

from avc_jax import errors, systems
from avc_jax.data.items import Item, ItemSource
from avc_jax.data.items.captions import Captions
from avc_jax.data.sources import Clip, Source
from avc_jax.evaluators import graded, nearness, retrieval
from avc_jax.systems.base import Comparison, Feature


def source_of(labels) -> Source:
    return Source(Path("."), tuple(Clip(f"{number}.mp4", number, "test", label) for number, label in enumerate(labels)))


def evaluator(tmp_path, labels, answer, head="ave", system=None, heldout=None, **changes):
    config = tiny.config(system__head=head, **{"retrieval__shown": 0} | changes)
    setting = asking.setting(tmp_path, heldout or source_of(labels), train=source_of([]), config=config,
                             asked=system or systems.make(config), devices=None)
    return retrieval.make(setting, asking.Features(answer))


def by_class(name, clip):
    """Trained: a direction per class, nearly the same for both halves of a clip. Untrained: noise."""
    rng = np.random.default_rng(clip.file)
    own = 0.05 * rng.normal(size=8)
    if name == "untrained":
        return {"video": rng.normal(size=8), "audio": rng.normal(size=8)}
    centre = np.eye(8)["abcd".index(clip.label)] if clip.label else np.eye(8)[7]
    return {"video": 3 * (centre + own), "audio": centre + own + 0.001 * rng.normal(size=8)}


# A system with text, like AVLnet's: what it embeds is made up.
DIRECTIONS = (("audio", "video"), ("video", "audio"), ("text", "audio+video"))


def with_text(similarity="dot"):
    made = systems.make(tiny.config(system__head="ave"))
    features = {"video": Feature((8,), "float32"), "spectrogram": Feature((40, 10), "float16")}
    return dataclasses.replace(made, features=features, similarity=similarity, directions=DIRECTIONS)


def whole_numbers(name, clip, lacking=lambda file: ()):
    """Rows whose dot products are exact and often equal; NaN where a clip lacks a modality."""
    rng = np.random.default_rng(clip.file)
    rows = {modality: rng.integers(-2, 3, 5).astype(float) for modality in ("audio", "video", "text")}
    rows["audio+video"] = rows["audio"] + rows["video"]
    return {modality: row * (np.nan if modality in lacking(clip.file) else 1) for modality, row in rows.items()}


# Own halves ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["average", "optimistic", "pessimistic", "naive"])
def test_every_direction_is_that_of_sorted_lists(tmp_path, rule):
    asked = evaluator(tmp_path, [""] * 40, whole_numbers, system=with_text(), retrieval__ties=rule,
                      retrieval__resamples=50)
    found = asked(asking.network())["directions"]
    assert list(found) == ["sound to video", "video to sound", "text to sound+video"]
    rows = [whole_numbers("trained", clip) for clip in source_of([""] * 40).clips]
    for (query, item), told in zip(DIRECTIONS, found.values(), strict=True):
        scores = np.array([[row[query] @ other[item] for other in rows] for row in rows])
        wanted = brute.ranks(scores, np.arange(40), rule)
        assert told["recall"] == pytest.approx(brute.recalls(wanted, 40))
        assert told["median_rank"] == np.median(wanted) + 1
        assert told["chance_recall"] == pytest.approx({"1": 1 / 40, "5": 5 / 40, "10": 10 / 40})
        low, high = told["interval"]["recall"]["10"]
        assert low <= told["recall"]["10"] <= high and high > low


@pytest.mark.parametrize(("similarity", "share"), [("cosine", 1), ("dot", 1 / 12)])
def test_nearness_is_what_the_system_says(tmp_path, similarity, share):
    def answer(name, clip):
        """The video of the first clip is so long that its dot product with every sound is the largest."""
        row = np.eye(12)[clip.file]
        return {"audio": row + 0.1 * np.eye(12)[0], "video": row * (100 if clip.file == 0 else 1)}

    found = evaluator(tmp_path, [""] * 12, answer, system=with_text(similarity))(asking.network())
    assert found["directions"]["sound to video"]["recall"]["1"] == pytest.approx(share)


def silent(file):
    return ("audio", "audio+video") if file % 5 == 0 else ()


def test_clips_that_lack_a_modality_are_no_candidates_and_count_as_not_found(tmp_path):
    def answer(name, clip):
        return whole_numbers(name, clip, silent)

    clips = source_of([""] * 40).clips
    rows, there = [answer("trained", clip) for clip in clips], np.array([file for file in range(40) if file % 5])
    told = {}
    for key, changes in (("all", {}), ("complete", {"retrieval__candidates": "complete"}), ("100", {"retrieval__official": 100}),
                         ("available", {"retrieval__denominator": "available"})):
        asked = evaluator(tmp_path, [""] * 40, answer, system=with_text(), retrieval__resamples=0, **changes)
        told[key] = asked(asking.network())["directions"]["sound to video"]
    for key, candidates, divisor in (("all", np.arange(40), 40), ("complete", there, 40), ("100", np.arange(40), 100),
                                     ("available", np.arange(40), 32)):
        scores = np.array([[rows[query]["audio"] @ rows[item]["video"] for item in candidates] for query in there])
        wanted = brute.ranks(scores, np.searchsorted(candidates, there), "average")
        assert told[key]["recall"] == pytest.approx(brute.recalls(wanted, divisor)), key
        assert told[key]["recall_available"] == pytest.approx(brute.recalls(wanted, 32))
        assert told[key]["median_rank"] == np.median(wanted) + 1
        assert (told[key]["asked"], told[key]["candidates"]) == (32, len(candidates))
        assert told[key]["chance_recall"]["1"] == pytest.approx(32 / len(candidates) / divisor)
    note = asked.rows(asked(asking.network()), None)[0].note
    assert "8 of 40 could not be asked" in note


def test_a_modality_that_no_clip_has_is_no_error(tmp_path):
    def answer(name, clip):
        return whole_numbers(name, clip, lambda file: ("text",))

    asked = evaluator(tmp_path, [""] * 9, answer, system=with_text())
    found = asked(asking.network())
    assert found["directions"]["text to sound+video"]["median_rank"] is None
    assert not any("text" in row.name for row in asked.rows(found, found))


def test_an_official_number_below_that_of_the_clips_is_refused(tmp_path):
    with pytest.raises(errors.ConfigError, match=r"config\.retrieval\.official: found 10, expected at least the 12 held-out"):
        evaluator(tmp_path, [""] * 12, whole_numbers, retrieval__official=10)


def test_what_was_not_embedded_is_not_asked(tmp_path):
    def halves(name, clip):
        return {"audio": np.eye(9)[clip.file], "video": np.eye(9)[clip.file]}

    found = evaluator(tmp_path, [""] * 9, halves, system=with_text())(asking.network())
    assert list(found["directions"]) == ["sound to video", "video to sound"]


def test_what_is_compared_otherwise_is_ranked_by_that(tmp_path, monkeypatch):
    """The score of a picture's places and a sound's moments: the largest product of one with another (MISA's idea)."""
    monkeypatch.setattr(nearness, "_BLOCK", 7)
    rng = np.random.default_rng(0)
    places, moments = rng.integers(-3, 4, (20, 2, 3, 5)).astype(np.float32), rng.integers(-3, 4, (20, 4, 5)).astype(np.float32)
    length = rng.integers(1, 5, 20)

    def sides(variables, batch):
        return {"video": batch["video"], "audio": (batch["moments"], batch["length"])}

    def score(found):
        products = jnp.einsum("nhwd,mtd->nmhwt", found["video"], found["audio"][0])
        heard = jnp.arange(4) < found["audio"][1][:, None]
        return jnp.where(heard[None, :, None, None], products, -jnp.inf).max((2, 3, 4))

    features = {"video": Feature((2, 3, 5), "float32"), "moments": Feature((4, 5), "float32"), "length": Feature((), "int32")}
    system = dataclasses.replace(with_text(), features=features, compare=Comparison(sides, score),
                                 directions=(("audio", "video"), ("video", "audio")))

    class Sides(asking.Features):
        """What `sides` make of the arrays; made of a setting, as the real one, where maps are asked for."""

        def __init__(self, made_of):
            super().__init__(whole_numbers)
            self._setting = made_of

        def maps(self, network, source, clips):
            batch = {"video": places[clips], "moments": moments[clips], "length": length[clips].astype(np.float32)}
            return {name: np.asarray(value) for name, value in self._setting.system.maps({}, batch).items()}

    config = tiny.config(system__head="ave", retrieval__shown=0)
    setting = asking.setting(tmp_path, source_of(["a", "b"] * 10), train=source_of([]), config=config, asked=system,
                             devices=None)
    found = retrieval.make(setting, Sides(None))(asking.network())["directions"]
    scores = np.array([[(place.reshape(-1, 5) @ moment[:count].T).max() for moment, count in zip(moments, length, strict=True)]
                       for place in places])
    for direction, wanted in (("video to sound", scores), ("sound to video", scores.T)):
        assert found[direction]["recall"] == pytest.approx(brute.recalls(brute.ranks(wanted, np.arange(20), "average"), 20))
        relevance = (np.arange(20)[:, None] % 2 == np.arange(20) % 2).astype(float)
        gained = graded.ndcg(wanted, relevance, config.retrieval.k, config.retrieval.gain)
        assert found[direction]["ndcg"] == pytest.approx(gained.mean())


# Subsets ------------------------------------------------------------------------------------------------------------------


def test_subsets_are_asked_among_themselves(tmp_path):
    (tmp_path / "subsets.csv").write_text("path,subset\n" + "".join(
        f"{number}.mp4,{'Sounds' if number % 2 else 'Speech'}\n" for number in range(30)))
    asked = evaluator(tmp_path, [""] * 40, whole_numbers, system=with_text(),
                      retrieval__subsets=str(tmp_path / "subsets.csv"))
    found = asked(asking.network())
    rows = [whole_numbers("trained", clip) for clip in source_of([""] * 40).clips]
    within = found["directions"]["sound to video"]["subsets"]
    assert set(within) == {"Sounds", "Speech"}
    odd = np.arange(1, 30, 2)
    wanted = brute.ranks(np.array([[rows[q]["audio"] @ rows[n]["video"] for n in odd] for q in odd]), np.arange(15), "average")
    assert within["Sounds"]["recall"] == pytest.approx(brute.recalls(wanted, 15))
    assert within["Sounds"]["chance_recall"]["10"] == pytest.approx(10 / 15)
    assert "Retrieval within Sounds, sound to video: recall at 10" in [row.name for row in asked.rows(found, found)]
    assert asked.data_sha256


def test_labels_are_subsets(tmp_path):
    found = evaluator(tmp_path, list("aabbb"), by_class, retrieval__subsets="label")(asking.network())
    assert found["directions"]["image to sound"]["subsets"]["b"]["candidates"] == 3


@pytest.mark.parametrize(("text", "part"), [("file,subset\n1.mp4,a\n", "found columns file, subset; expected path and subset"),
                                            ("path,subset\nx.mp4,a\n", "none of them among the 4 held-out clips.*such as 0.mp4")])
def test_wrong_subsets_are_refused_in_words(tmp_path, text, part):
    (tmp_path / "subsets.csv").write_text(text)
    with pytest.raises(errors.DataError, match=part):
        evaluator(tmp_path, [""] * 4, by_class, retrieval__subsets=str(tmp_path / "subsets.csv"))


def test_missing_subsets_are_named(tmp_path):
    with pytest.raises(errors.AvcError, match=r"nowhere\.csv"):
        evaluator(tmp_path, [""] * 4, by_class, retrieval__subsets=str(tmp_path / "nowhere.csv"))


# Words --------------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Captioned(Source):
    """A source whose clips have captions."""

    items: tuple = ()


def captioned(texts) -> Captioned:
    items = tuple(SimpleNamespace(text="", captions=SimpleNamespace(texts=[text])) for text in texts)
    return Captioned(Path("."), source_of([""] * len(texts)).clips, items)


def test_clips_are_found_by_the_words_that_are_said_in_them(tmp_path):
    texts = [f"now the {word}" for word in ("Pan", "oven", "knife", "bowl", "spoon", "whisk") for _ in range(12)]

    def answer(name, clip):
        rng = np.random.default_rng(clip.file)
        word = np.eye(6)[clip.file // 12]
        known = {"audio": word + 0.01 * rng.normal(size=6), "video": word + 0.01 * rng.normal(size=6)}
        return known if name == "trained" else {modality: rng.normal(size=6) for modality in known}

    asked = evaluator(tmp_path, [], answer, heldout=captioned(texts))
    trained, untrained = asked(asking.network(name="trained")), asked(asking.network(name="untrained"))
    assert list(trained["by_word"]) == ["sound to image", "image to sound"]
    for direction, found in trained["by_word"].items():
        assert {word["word"] for word in found["words"]} == {"pan", "oven", "knife", "bowl", "spoon", "whisk"}  # not now, not the
        assert found["precision"] == found["recall"]["1"] == 1 and untrained["by_word"][direction]["precision"] < 0.4
        assert [found["chance"], found["chance_recall"]["1"]] == pytest.approx([11 / 71] * 2)
    names = [row.name for row in asked.rows(trained, untrained)]
    assert names[-2:] == [f"Retrieval by words, image to sound: {what} at 10" for what in ("recall", "precision")]
    assert asked.rows(trained, None)[-1].untrained is None
    named = evaluator(tmp_path, [], answer, heldout=captioned(texts), retrieval__words="oven, The, kettle")
    assert [word["word"] for word in named(asking.network())["by_word"]["sound to image"]["words"]] == ["oven", "the"]
    assert evaluator(tmp_path, [], answer, heldout=captioned(texts[:9]))(asking.network())["by_word"] == {}


@pytest.mark.parametrize("rule", ["average", "optimistic", "pessimistic", "naive"])
def test_recalls_of_words_are_those_of_sorted_lists(tmp_path, rule):
    """Of 30 captions, two of each picture, the picture asks once and finds neither of its own."""
    has, picture = np.random.default_rng(1).random((30, 3)) < 0.3, np.arange(30) // 2
    clips = spoken(picture, ["".join(f" w{k}" for k in np.flatnonzero(row)) for row in has])
    asked = evaluator(tmp_path, [], by_picture, system=with_text(), heldout=clips, retrieval__words="w0,w1,w2",
                      retrieval__ties=rule)
    found, rows = asked(asking.network())["by_word"], [by_picture("", clip) for clip in clips.clips]
    scores = np.array([[row["audio"] @ other["video"] for other in rows[::2]] for row in rows])
    said = (has, picture), (has[::2] | has[1::2], np.arange(15))  # by captions, and by pictures
    for direction, matrix, (asks, own), (there, answers) in (("sound to video", scores, *said),
                                                             ("video to sound", scores.T, *reversed(said))):
        for word, told in enumerate(found[direction]["words"]):
            ranks = []
            for query in np.flatnonzero(asks[:, word]):
                others = answers != own[query]
                right = matrix[query, others & there[:, word]].max()
                listed = np.array([[*matrix[query, others & ~there[:, word]], right]])
                ranks += brute.ranks(listed, np.array([listed.size - 1]), rule)
            assert told["recall"] == pytest.approx(brute.recalls(ranks, asks[:, word].sum())), (word, direction)


# Shared pictures ----------------------------------------------------------------------------------------------------------


def spoken(pictures, texts=None) -> Source:
    """Spoken captions of numbered pictures."""
    texts = [""] * len(pictures) if texts is None else texts
    return ItemSource(Path("."), tuple(
        Item(f"{number}.wav", int(picture), "test", image=f"{picture}.jpg", captions=Captions.of_whole(text))
        for number, (picture, text) in enumerate(zip(pictures, texts, strict=True))))


def by_picture(name, clip):
    """Exact numbers that are often equal; those of pictures are the same for all of their captions."""
    heard = np.random.default_rng(1000 + int(clip.path[:-4])).integers(-2, 3, 5)
    return whole_numbers(name, clip) | {"audio": heard.astype(float)}


def test_several_captions_of_a_picture_do_not_hide_it_from_each_other(tmp_path):
    def answer(name, clip):
        row = np.eye(25)[clip.file]
        return {"video": row, "audio": row + 0.01 * np.random.default_rng(int(clip.path[:-4])).normal(size=25)}

    clips = spoken(np.arange(150) // 6)
    asked = evaluator(tmp_path, [], answer, system=with_text(), heldout=clips, retrieval__shown=2)
    found = asked(asking.network())
    for direction, queries, items in (("sound to video", 150, 25), ("video to sound", 25, 150)):
        told = found["directions"][direction]
        assert (told["recall"]["1"], told["asked"], told["official"], told["candidates"]) == (1, queries, queries, items)
    assert "One of the 6 captions of the picture, among 150" in "".join(row.note for row in asked.rows(found, None))
    lists = np.load(tmp_path / "pictures/retrieval.npz")
    assert lists["own"].sum(1).tolist() == [1, 1, 5, 5] and lists["query"][2:].tolist() == ["0.wav", "144.wav"]


@pytest.mark.parametrize("rule", ["average", "optimistic", "pessimistic", "naive"])
def test_shared_pictures_are_ranked_as_sorted_lists_of_pictures_and_of_captions(tmp_path, rule):
    picture, silent = np.array([0, 0, 0, 1, 2, 2, 3, 4, 4, 4, 4, 5, 6, 7, 7]), {0, 3, 7}
    clips = spoken(picture)

    def answer(name, clip):
        row = by_picture(name, clip)
        return row | {"audio": row["audio"] * (np.nan if int(clip.path[:-4]) in silent else 1)}

    asked = evaluator(tmp_path, [], answer, system=with_text(), heldout=clips, retrieval__ties=rule, retrieval__official=20)
    found = asked(asking.network())["directions"]
    rows = [answer("", clip) for clip in clips.clips]
    first, heard = np.unique(picture, return_index=True)[1], [n for n in range(15) if n not in silent]
    wanted = brute.ranks(np.array([[rows[q]["audio"] @ rows[n]["video"] for n in first] for q in heard]), picture[heard], rule)
    assert found["sound to video"]["recall"] == pytest.approx(brute.recalls(wanted, 20))
    assert found["sound to video"]["median_rank"] == np.median(wanted) + 1
    wanted = []
    for number, place in enumerate(first):
        scores = {n: rows[place]["video"] @ rows[n]["audio"] for n in heard}
        own = [score for n, score in scores.items() if picture[n] == number]
        listed = np.array([[score for n, score in scores.items() if picture[n] != number] + [max(own, default=np.nan)]])
        wanted += brute.ranks(listed, np.array([listed.size - 1]), rule) if own else []
    told = found["video to sound"]
    assert (told["asked"], told["official"], told["candidates"]) == (7, 13, 12)  # picture 1 has no sound; five are not listed
    assert told["recall"] == pytest.approx(brute.recalls(wanted, 13)) and told["median_rank"] == np.median(wanted) + 1


# Classes ------------------------------------------------------------------------------------------------------------------


def test_retrieval_tells_a_network_that_knows_from_one_that_does_not(tmp_path):
    asked = evaluator(tmp_path, list("abcd") * 10, by_class)
    assert asked.missing() is None
    trained, untrained = asked(asking.network(name="trained")), asked(asking.network(name="untrained"))
    assert set(trained["directions"]) == {"image to image", "image to sound", "sound to image", "sound to sound"}
    for direction, found in trained["directions"].items():
        assert found["ndcg"] > 0.99, direction
        assert abs(untrained["directions"][direction]["ndcg"] - found["chance"]) < 0.1, direction
    assert trained["directions"]["image to sound"]["recall"]["1"] > 0.9
    assert trained["directions"]["image to sound"]["median_rank"] == 1
    assert trained["recall_at_1"] == {f"{a}_to_{b}": trained["directions"][f"{a} to {b}"]["recall"]["1"]
                                      for a, b in (("image", "sound"), ("sound", "image"))}
    assert "recall" not in trained["directions"]["image to image"]
    rows = asked.rows(trained, untrained)
    assert len(rows) == 4 + 2 * 4
    for row in rows:
        assert row.untrained is not None and row.chance is not None, row.name
        if "median rank" in row.name:
            assert (row.trained, row.chance, row.lower_is_better) == (1, 20.5, True)
        else:
            assert row.trained > max(row.untrained, row.chance), row.name


def test_clips_without_labels_are_asked_for_their_other_half_only(tmp_path):
    asked = evaluator(tmp_path, [""] * 12, by_class)
    trained = asked(asking.network())
    assert [row.name for row in asked.rows(trained, None)] == [
        f"Retrieval, {direction}: {what}" for direction in ("sound to image", "image to sound")
        for what in ("recall at 1", "recall at 5", "recall at 10", "median rank")]
    assert all(row.untrained is None for row in asked.rows(trained, None))


def test_clips_without_a_label_are_no_candidates_for_classes(tmp_path):
    found = evaluator(tmp_path, [*"aabb", "", ""], by_class)(asking.network())
    assert (found["clips"], found["labelled"]) == (6, 4)
    assert found["directions"]["image to sound"]["queries"] == 4


def test_class_of_a_single_clip_is_no_query_within_its_modality(tmp_path):
    found = evaluator(tmp_path, list("aab"), by_class)(asking.network())["directions"]
    assert found["image to image"]["queries"] == 2
    assert found["image to sound"]["queries"] == 3
    alone = evaluator(tmp_path, list("ab"), by_class)
    trained = alone(asking.network())
    assert trained["directions"]["image to image"]["ndcg"] is None
    assert not any("image to image" in row.name for row in alone.rows(trained, None))


def test_relevance_of_other_classes_counts(tmp_path):
    (tmp_path / "relevance.csv").write_text("class,a,b\na,2,1\nb,1,2\n")
    asked = evaluator(tmp_path, list("aabb"), by_class, retrieval__relevance=str(tmp_path / "relevance.csv"),
                      retrieval__gain="linear")
    # All four are relevant, in the best order: chance is above that of classes alone.
    found = asked(asking.network())["directions"]["image to sound"]
    assert found["ndcg"] == pytest.approx(1)
    gains, discounts = np.array([2, 2, 1, 1]), 1 / np.log2(np.arange(4) + 2)
    assert found["chance"] == pytest.approx(1.5 * discounts.sum() / (gains @ discounts))
    assert asked.data_sha256 != ""


def test_heads_without_a_common_space_and_single_clips_are_not_asked(tmp_path):
    assert "no common space" in evaluator(tmp_path, list("ab"), by_class, head="l3").missing()
    assert "1 held-out clips" in evaluator(tmp_path, ["a"], by_class).missing()


def test_a_system_says_itself_whether_it_has_a_common_space():
    assert systems.make(tiny.config(system__head="ave")).common_space
    assert not systems.make(tiny.config(system__head="l3")).common_space


# The page -----------------------------------------------------------------------------------------------------------------


def test_lists_for_the_page_have_the_nearest_first_and_what_can_be_shown(videos, tmp_path):
    from avc_jax.data import sources

    heldout = sources.open_folder(str(videos), "", (1.0, 0.0, 0.0))

    def answer(name, clip):
        row = np.eye(6)[clip.file] + 0.1 * np.eye(6)[(clip.file + 1) % 6]
        return {"audio": row, "video": row}

    evaluator(tmp_path, [], answer, heldout=heldout, retrieval__shown=3)(asking.network())
    found = np.load(tmp_path / "pictures/retrieval.npz")
    assert found["direction"].tolist() == ["sound to image"] * 3 + ["image to sound"] * 3
    assert found["query"].tolist() == [f"{number:02d}.mp4" for number in (0, 2, 5)] * 2
    assert found["own"][:, 0].all() and not found["own"][:, 1:].any()
    assert (np.diff(found["score"], axis=1) <= 0).all()
    media = np.load(tmp_path / "pictures/retrieval_media.npz")
    shown = [[tiny.picture_of(frame) for frame in row] for row in media["frame"][found["found_media"]]]
    assert shown == [[int(name[:2]) for name in row] for row in found["found"]]
    heard = media["waveform"][found["query_media"]]
    assert [tiny.sound_of(sound, int(media["rate_hz"])) for sound in heard] == [0, 2, 5] * 2


def test_without_media_the_lists_stand_alone_and_old_ones_go(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/retrieval_media.npz").write_bytes(b"of another time")
    asked = evaluator(tmp_path, [""] * 12, by_class, retrieval__shown=4)
    asked(asking.network())
    assert (np.load(tmp_path / "pictures/retrieval.npz")["found_media"] == -1).all()
    assert not (tmp_path / "pictures/retrieval_media.npz").exists()
    asked(asking.network(name="untrained"))
    assert (tmp_path / "pictures/retrieval.npz").exists()
