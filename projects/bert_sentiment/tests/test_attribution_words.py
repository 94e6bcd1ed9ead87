"""Words of a text: where they stand in the original, and which tokens write them."""

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from bert_sentiment.config import PreprocessingConfig
from bert_sentiment.data.preprocessor import clean, token_ids
from bert_sentiment.inference.attributions import integrated_gradients, leave_one_word_out
from bert_sentiment.inference.words import align, clean_with_places
from bert_sentiment.models.bert_classifier import SentimentModel
from roadmap_shared.errors import UserError

TinyModel = Callable[..., SentimentModel]
TEXT = "Not a <b>good</b> film, but I looooooved it!!"


def test_words_stand_where_they_stand_in_the_original(tiny_model: TinyModel) -> None:
    found = integrated_gradients(tiny_model(), TEXT, steps=1)
    assert [word.text for word in found.words] == [
        *("Not", "a", "good", "film", ",", "but", "I", "looooooved", "it", "!!"),
    ]
    assert all(TEXT[word.start : word.end] == word.text for word in found.words)
    text = "see https://t.co/x by @Anna_1: don&#39;t &amp; 好看"
    words = [word.text for word in integrated_gradients(tiny_model(), text, steps=1).words]
    assert words == ["see", "https://t.co/x", "by", "@Anna_1", ":", "don&#39;t", "&amp;", "好", "看"]


def test_words_that_are_cut_off_have_no_score(tiny_model: TinyModel) -> None:
    text = "good bad fine dull great awful bright phone film"
    seen = {
        "head": "good bad fine dull great awful",
        "tail": "dull great awful bright phone film",
        "head_tail": "good bad awful bright phone film",
    }
    for truncation, words in seen.items():
        model = tiny_model(max_length=8, truncation=truncation)
        for method in (integrated_gradients, leave_one_word_out):
            found = method(model, text)
            assert " ".join(word.text for word in found.words if word.score is not None) == words


SIGNS = [
    *"ab<>/&;#39ampltgx @:.!oO\n\u3000😀é好'-_",
    "http://",
    "&lt;",
    "&notit;",
    "&#x41;",
    "<br/>",
    "www.a",
    "@me",
    "oooo",
]
MESSY = st.lists(st.sampled_from(SIGNS), max_size=20).map("".join)
CONFIGS = st.builds(
    PreprocessingConfig,
    html=st.booleans(),
    urls=st.sampled_from(["keep", "token"]),
    mentions=st.sampled_from(["keep", "token"]),
    elongation=st.booleans(),
    max_length=st.integers(8, 20),
    truncation=st.sampled_from(["head", "tail", "head_tail"]),
)


@settings(max_examples=300, deadline=None)
@given(text=MESSY, config=CONFIGS)
def test_cleaning_with_places_gives_the_cleaned_text(text: str, config: PreprocessingConfig) -> None:
    cleaned, places = clean_with_places(text, config)
    assert cleaned == clean(text, config)
    assert len(places) == len(cleaned)
    assert all(a.start <= b.start and a.end <= b.end for a, b in pairwise(places))
    for character, place in zip(cleaned, places, strict=True):
        assert 0 <= place.start < place.end <= len(text)
        if place.end - place.start == 1 and not character.isspace():
            assert text[place.start] == character


def byte_level() -> PreTrainedTokenizerFast:
    """Tokens are bytes, as in RoBERTa for signs that it does not know: several tokens a character."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {sign: index for index, sign in enumerate(["<pad>", "<s>", "</s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", model_max_length=512)


def metaspace() -> PreTrainedTokenizerFast:
    """Tokens begin with the blank before them, as in ALBERT."""
    pieces = [("<pad>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((sign, -3.0) for sign in "abcdefghijklmnopqrstuvwxyz!")]
    tokenizer = Tokenizer(models.Unigram([*pieces, ("▁a", -2.5), ("▁go", -2.5)], unk_id=1, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()  # type: ignore[assignment]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", model_max_length=99
    )


@pytest.mark.parametrize("make", [byte_level, metaspace])
def test_every_token_belongs_to_the_word_it_writes(make: Callable[[], PreTrainedTokenizerFast]) -> None:
    text, tokenizer = "a good day! 😀 go", make()
    found = align(text, tokenizer, PreprocessingConfig())
    assert [text[word.start : word.end] for word in found.words] == ["a", "good", "day", "!", "😀", "go"]
    spelled: dict[int | None, str] = {}
    for token, word in zip(found.token_ids, found.word_of_token, strict=True):
        spelled[word] = spelled.get(word, "") + str(tokenizer.convert_ids_to_tokens(token))
    if make is metaspace:
        assert spelled == {0: "▁a", 1: "▁good", 2: "▁day", 3: "!", 4: "▁<unk>", 5: "▁go"}
    else:
        assert [len(spelled[index]) for index in range(6)] == [1, 5, 4, 1, 5, 3], "bytes, the blank before included"


@settings(max_examples=150, deadline=None)
@given(text=MESSY, config=CONFIGS, make=st.sampled_from([byte_level, metaspace]))
def test_tokens_are_those_of_the_prediction(
    text: str, config: PreprocessingConfig, make: Callable[[], PreTrainedTokenizerFast]
) -> None:
    tokenizer = make()
    found = align(text, tokenizer, config)
    assert found.token_ids == token_ids([text], tokenizer, config)[0]
    assert all(word is not None and 0 <= word < len(found.words) for word in found.word_of_token)
    assert all(a.end <= b.start for a, b in pairwise(found.words))


def test_a_slow_tokenizer_is_refused(tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    monkeypatch.setattr(type(model.tokenizer), "is_fast", False)
    with pytest.raises(UserError) as caught:
        integrated_gradients(model, "good")
    assert str(caught.value) == (
        "words can be marked only for a model with a fast tokenizer (tokenizer.json in its folder)"
    )
