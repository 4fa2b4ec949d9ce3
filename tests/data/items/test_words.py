"""Word vectors of both formats, and the words that they are looked up for."""

import numpy as np
import pytest
from data.items import made

from avc_jax import errors
from avc_jax.data.items import words


@pytest.mark.parametrize(("text", "header"), [(False, True), (True, True), (True, False)])
def test_every_format_gives_the_same_rows(tmp_path, text, header):
    vectors = words.WordVectors(made.write_vectors(tmp_path / "v", text=text, header=header))
    assert (vectors.width, len(vectors)) == (3, len(made.WORDS))
    found = vectors.rows(["it", "zzz", "the", "don't", "salt"], 3)
    np.testing.assert_allclose(found, [made.vector(word) for word in ("it", "the", "don't")])
    assert found.dtype == np.float32 and vectors.rows(["zzz"], 3).shape == (0, 3)


@pytest.mark.parametrize("text", [False, True])
def test_only_the_wanted_words_are_kept(tmp_path, text):
    vectors = words.WordVectors(made.write_vectors(tmp_path / "v", text=text), {"salt", "zzz"})
    assert len(vectors) == 1 and "salt" in vectors and "the" not in vectors


def test_vectors_without_line_feeds_between_them_are_read(tmp_path):
    rows = [np.array([1.0, 2.0], "<f4").tobytes(), np.array([10.0, 32.0], "<f4").tobytes()]
    (tmp_path / "v").write_bytes(b"2 2\na " + rows[0] + "ö b".replace(" b", "").encode() + b" " + rows[1])
    vectors = words.WordVectors(tmp_path / "v")
    np.testing.assert_array_equal(vectors.rows(["ö", "a"], 9), [[10.0, 32.0], [1.0, 2.0]])


BINARY = b"".join(b"w%d " % row + np.arange(3, dtype="<f4").tobytes() + b"\n" for row in range(9))


@pytest.mark.parametrize(("content", "said"), [
    (b"", "it is empty"), (b"3 4\nthe \x00\x00\x00", "ends before the last of its 3"), (b"\n", "neither a count"),
    (b"hello\n", "neither a count and a width"), (b"a b c\n", "neither a count"),
    (b"2 3\na 1 2\nb 1 2\n", "promises vectors of 3 numbers, and its first has 2"),
    (b"2 1\na 1 2\nb 1 2\n", "promises vectors of 1 numbers, and its first has 2"),
    (b"3 2\na 1 2\nb 1 2\n", "promises 3 vectors, and holds 2"), (b"1 2\na 1 2\nb 1 2\n", "promises 1 vectors, and holds 2"),
    (b"10 3\n" + BINARY, "ends before the last of its 10"), (b"8 3\n" + BINARY, "goes on after the last of its 8"),
    (b"9 2\n" + BINARY, "goes on after|ends before"), (b"9 4\n" + BINARY, "goes on after|ends before")])
def test_files_that_are_none_are_said_so(tmp_path, content, said):
    (tmp_path / "v").write_bytes(content)
    with pytest.raises(errors.DataError, match=said):
        words.WordVectors(tmp_path / "v")
    with pytest.raises(errors.MissingInputError, match="there is no such file"):
        words.WordVectors(tmp_path / "w")


def test_a_line_of_another_length_is_said_when_it_is_asked_for(tmp_path):
    (tmp_path / "v").write_text("a 1 2\nb 1 2 3\n")
    with pytest.raises(errors.DataError, match="does not hold the 2 numbers"):
        words.WordVectors(tmp_path / "v").rows(["b"], 1)


@pytest.mark.parametrize("begin", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize(("content", "words_of"), [
    (b"2 2\na\t1\t2\nb\t3\t4\n", "ab"), (b"a\t1 2\r\nb  3\t4\r\n", "ab"), (b"1\t2\na \t1\t 2\n", "a")])
def test_any_blank_may_follow_a_word_and_a_mark_may_precede_all(tmp_path, begin, content, words_of):
    (tmp_path / "v").write_bytes(begin + content)
    vectors = words.WordVectors(tmp_path / "v")
    np.testing.assert_array_equal(vectors.rows(words_of, 9), [[1, 2], [3, 4]][: len(words_of)])


@pytest.mark.parametrize(("content", "said"), [
    (b"b 1 2\nxa nan inf\n", "v is no file.*the vector of 'xa' holds nan"),
    (b"a 1 70000\n", "'a' holds 70000.0, expected .* 65504"),
    (b"2 2\na " + np.float32([1, 2]).tobytes() + b"b " + np.float32([1, -np.inf]).tobytes(), "'b' holds -inf")])
def test_what_is_no_number_is_said_with_its_word(tmp_path, monkeypatch, content, said):
    (tmp_path / "v").write_bytes(content)
    with pytest.raises(errors.DataError, match=said):
        words.WordVectors(tmp_path / "v")
    monkeypatch.setattr(words, "_CHECKED", 0)  # of a large file, when it is asked for
    with pytest.raises(errors.DataError, match=said):
        words.WordVectors(tmp_path / "v").rows(["xa", "b", "a"], 3)
    assert len(words.WordVectors(tmp_path / "v", {"zzz"})) == 0


def test_words_keep_their_case_and_apostrophes():
    assert words.tokens("Don't add the SALT, now-ish: 2x ö!") == ["Don't", "add", "the", "SALT", "now", "ish", "2x", "ö"]


def test_words_without_a_vector_are_counted(tmp_path):
    vectors = words.WordVectors(made.write_vectors(tmp_path / "v"))
    assert words.count_unknown(vectors, ["the salt", "it"]) == ""
    said = words.count_unknown(vectors, ["the zzz yyy", "zzz"])
    assert "3 of the 4 words" in said and "zzz (2), yyy (1)" in said
