"""What holds for every tokenizer: round trips, special tokens, streaming, JSON, and errors."""

import json
import re
from pydoc_data.topics import topics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadmap_shared.errors import UserError
from transformer_from_scratch.tokenizers import StreamDecoder, tokenizer_from_json, train

deterministic = settings(derandomize=True, deadline=None)

TEXT = "".join(topics[name] for name in sorted(topics))[:30_000] + "naïve café — 日本語 🙂\x00\u0301"
SPECIALS = ("<pad>", "<bos>", "<eos>", "<mask>")
TOKENIZERS = {
    "character": train("character", TEXT, special_tokens=SPECIALS),
    "bpe": train("bpe", TEXT, 600, SPECIALS),
    "wordpiece": train("wordpiece", TEXT, 600, SPECIALS),
}
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
OWN_TEXT = st.text(st.sampled_from(sorted(set(TEXT))))

every_tokenizer = pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS.keys())
subword_tokenizers = pytest.mark.parametrize("tokenizer", [TOKENIZERS["bpe"], TOKENIZERS["wordpiece"]])


@subword_tokenizers
@deterministic
@given(text=ANY_TEXT)
def test_round_trip_of_any_text(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert sum(map(tokenizer.token_bytes, ids)) == len(text.encode("utf-8"))


@every_tokenizer
@deterministic
@given(text=OWN_TEXT)
def test_round_trip_of_the_trained_alphabet(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert sum(map(tokenizer.token_bytes, ids)) == len(text.encode("utf-8"))


@every_tokenizer
def test_round_trip_of_the_training_text(tokenizer):
    assert tokenizer.decode(tokenizer.encode(TEXT)) == TEXT


@subword_tokenizers
@pytest.mark.parametrize(
    "text",
    ["", "\x00", " ", "   \n\t ", "e\u0301\u0301", "👩‍👩‍👧‍👦", "##ing ## ▁a _a", "<0xE2>", "\r\n", "\ufffd"],
)
def test_round_trip_of_awkward_texts(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


@every_tokenizer
def test_special_tokens_have_the_first_ids_and_stand_for_no_text(tokenizer):
    assert [tokenizer.special_id(name) for name in SPECIALS] == [0, 1, 2, 3]
    assert [tokenizer.token_text(i) for i in range(4)] == list(SPECIALS)
    assert [tokenizer.token_bytes(i) for i in range(4)] == [0, 0, 0, 0]
    ids = tokenizer.encode("a b")
    assert tokenizer.decode([1, ids[0], 3, *ids[1:], 2, 0, 0]) == "a b"


@pytest.mark.parametrize("kind", ["character", "bpe", "wordpiece"])
def test_special_tokens_in_text_are_only_text(kind):
    # MASK has no punctuation, so that WordPiece meets it as one word and, trained on it, as one piece.
    specials = ("<pad>", "MASK")
    tokenizer = train(kind, "<pad> MASK " * 50, 400, specials)
    ids = tokenizer.encode("<pad> MASK <pad>")
    assert min(ids) >= len(specials)
    assert tokenizer.decode(ids) == "<pad> MASK <pad>"


@every_tokenizer
@deterministic
@given(text=OWN_TEXT)
def test_streamed_text_is_the_text_and_never_cuts_a_character(tokenizer, text):
    stream = StreamDecoder(tokenizer)
    pieces = [stream.feed(token_id) for token_id in tokenizer.encode(text)]
    assert "".join(pieces) == text
    assert "\ufffd" not in "".join(pieces)
    assert stream.flush() == ""


@every_tokenizer
@deterministic
@given(data=st.data())
def test_stream_of_any_ids_joins_to_their_decoding(tokenizer, data):
    ids = data.draw(st.lists(st.integers(0, min(tokenizer.vocab_size, 300) - 1)))
    stream = StreamDecoder(tokenizer)
    assert "".join([stream.feed(token_id) for token_id in ids]) + stream.flush() == tokenizer.decode(ids)


def test_unfinished_characters_decode_to_the_replacement_character():
    tokenizer = train("bpe", "a", 256)
    ids = tokenizer.encode("a🙂b")
    assert tokenizer.decode(ids[:3]) == "a\ufffd"
    assert tokenizer.decode(ids[4:]) == "\ufffdb"
    stream = StreamDecoder(tokenizer)
    assert [stream.feed(token_id) for token_id in ids] == ["a", "", "", "", "🙂", "b"]
    stream.feed(ids[1])
    assert stream.flush() == "\ufffd"


@every_tokenizer
def test_json_round_trip(tokenizer):
    copy = tokenizer_from_json(json.loads(json.dumps(tokenizer.to_json())))
    assert type(copy) is type(tokenizer)
    assert copy.special_tokens == tokenizer.special_tokens
    assert copy.to_json() == tokenizer.to_json()
    everything = range(tokenizer.vocab_size)
    assert copy.vocab_size == tokenizer.vocab_size
    assert [copy.token_text(i) for i in everything] == [tokenizer.token_text(i) for i in everything]
    assert copy.encode(TEXT) == tokenizer.encode(TEXT)


@pytest.mark.parametrize("kind", ["bpe", "wordpiece"])
def test_vocabulary_is_filled_up_to_its_size_and_no_token_occurs_twice(kind):
    tokenizer = TOKENIZERS[kind]
    assert tokenizer.vocab_size == 600
    assert len({tokenizer.token_text(i) for i in range(600)}) == 600


@pytest.mark.parametrize("kind", ["bpe", "wordpiece"])
def test_no_token_spans_two_training_texts(kind):
    apart, together = train(kind, ["x", "y"] * 100, 300), train(kind, ["xy"] * 100, 300)
    assert len(apart.encode("xy")) == 2
    assert len(together.encode("xy")) == 1


@every_tokenizer
@pytest.mark.parametrize("outside", [-1, 100_000])
def test_an_id_outside_the_vocabulary_is_named(tokenizer, outside):
    message = f"token id {outside} is outside the vocabulary (0 to {tokenizer.vocab_size - 1})"
    for use in (lambda i: tokenizer.decode([i]), tokenizer.token_text, tokenizer.token_bytes):
        with pytest.raises(UserError, match=re.escape(message)):
            use(outside)


@every_tokenizer
def test_a_lone_surrogate_is_named(tokenizer):
    with pytest.raises(UserError, match=r"lone surrogate U\+D83D at position 2"):
        tokenizer.encode("ab\ud83d")


@every_tokenizer
def test_an_unknown_special_token_is_named(tokenizer):
    with pytest.raises(UserError, match=r"no special token '<sep>' \(it has: <pad>, <bos>, <eos>, <mask>\)"):
        tokenizer.special_id("<sep>")


def test_labels_show_spaces_controls_and_bytes():
    characters = train("character", "a \n\u200b")
    assert [characters.token_text(i) for i in range(4)] == ["\\n", "▁", "a", "\\u200b"]
    pieces = train("bpe", "é", 256)
    assert [pieces.token_text(i) for i in pieces.encode("é a")] == ["<0xC3>", "<0xA9>", "▁", "a"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("character", ""), "the text to train the tokenizer on is empty"),
        (("bpe", [], 300), "the text to train the tokenizer on is empty"),
        (("wordpiece", ["", ""], 300), "the text to train the tokenizer on is empty"),
        (("bpe", "a\ud800", 300), "lone surrogate U+D800 at position 1"),
        (("bpe", "text"), "a bpe tokenizer needs a vocab_size"),
        (("wordpiece", "text"), "a wordpiece tokenizer needs a vocab_size"),
        (
            ("bpe", "text", 257, ("<a>", "<b>")),
            "vocab_size 257 is too small: 256 bytes and 2 special tokens need",
        ),
        (
            ("wordpiece", "text", 10),
            "vocab_size 10 is too small: 256 bytes and 0 special tokens need at least 256",
        ),
        (("character", "abc", 3, ("<pad>",)), "more than vocab_size 3: raise it to 4"),
        (
            ("character", "abc", None, ("<pad>", "<pad>")),
            "special_tokens ['<pad>', '<pad>']: give each a name",
        ),
        (("bpe", "abc", 300, ("",)), "special_tokens ['']: give each a name of its own, none empty"),
        (("bytes", "abc", 300), "unknown tokenizer kind 'bytes': choose one of character, bpe, wordpiece"),
    ],
)
def test_training_errors(arguments, message):
    with pytest.raises(UserError, match=re.escape(message)):
        train(*arguments)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (["bpe"], "not tokenizer JSON of this project"),
        (
            {"version": "1.0", "model": {}},
            "expected an object whose 'kind' is one of character, bpe, wordpiece",
        ),
        ({"kind": ["bpe"]}, "not tokenizer JSON of this project"),
        ({"kind": "bpe", "special_tokens": []}, "field 'merges' must be a list of strings"),
        ({"kind": "bpe", "special_tokens": "<pad>", "merges": []}, "field 'special_tokens' must be a list"),
        (
            {"kind": "bpe", "special_tokens": [], "merges": [["a", "b"]]},
            "field 'merges' must be a list of strings",
        ),
        ({"kind": "bpe", "special_tokens": [], "merges": [], "dropout": 0.1}, "unknown field 'dropout'"),
        ({"kind": "bpe", "special_tokens": [], "merges": ["ab"]}, "merge 0 'ab' is not two tokens"),
        (
            {"kind": "bpe", "special_tokens": [], "merges": ["a b", "a 日"]},
            "merge 1 'a 日' is not two tokens",
        ),
        (
            {"kind": "bpe", "special_tokens": [], "merges": ["ab c"]},
            "merge 0 'ab c' joins a token that no earlier",
        ),
        (
            {"kind": "bpe", "special_tokens": [], "merges": ["a b", "a b"]},
            "merge 1 'a b' makes a token that an",
        ),
        ({"kind": "bpe", "special_tokens": ["<a>", "<a>"], "merges": []}, "give each a name of its own"),
        (
            {"kind": "character", "special_tokens": [], "alphabet": ["a", "bc"]},
            "'alphabet' must hold single characters",
        ),
        (
            {"kind": "character", "special_tokens": [], "alphabet": ["a", "a"]},
            "'alphabet' must hold single characters",
        ),
        ({"kind": "character", "special_tokens": [], "alphabet": ["\ud800"]}, "lone surrogate U+D800"),
        (
            {"kind": "wordpiece", "special_tokens": [], "pieces": ["a", "a"]},
            "'pieces' must be strings of at least one",
        ),
        (
            {"kind": "wordpiece", "special_tokens": [], "pieces": ["##"]},
            "'pieces' must be strings of at least one",
        ),
        (
            {"kind": "wordpiece", "special_tokens": [], "pieces": ["a\udfff"]},
            "lone surrogate U+DFFF at position 1",
        ),
    ],
)
def test_json_errors(data, message):
    with pytest.raises(UserError, match=re.escape(message)):
        tokenizer_from_json(data)


def test_json_of_another_kind_is_refused():
    data = train("character", "abc").to_json()
    with pytest.raises(UserError, match="not the JSON of a bpe tokenizer: expected an object with 'kind': 'bpe'"):
        type(TOKENIZERS["bpe"]).from_json(data)


def test_unknown_characters_are_listed_with_their_positions():
    tokenizer = train("character", "ab")
    with pytest.raises(UserError) as caught:
        tokenizer.encode("abé\nbé1234")
    assert str(caught.value) == (
        "the text has characters that the tokenizer was not trained on: 'é' (U+00E9) at position 2, "
        "'\\n' (U+000A) at position 3, '1' (U+0031) at position 6, '2' (U+0032) at position 7, "
        "'3' (U+0033) at position 8 and 1 more; remove them, or train the tokenizer on text that has them"
    )


def test_the_alphabet_is_in_code_point_order():
    tokenizer = train("character", "hello", special_tokens=("<pad>",))
    assert tokenizer.encode("ehlo") == [1, 2, 3, 4]
    assert tokenizer.vocab_size == 5
