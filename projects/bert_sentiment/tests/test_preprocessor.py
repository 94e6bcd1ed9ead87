"""From text to padded token ids, against what the tokenizer itself does."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from bert_sentiment.config import PreprocessingConfig
from bert_sentiment.data.preprocessor import by_length, clean, pad, special_tokens, text_room, token_ids, truncate

KEEP_ALL = PreprocessingConfig(html=False, urls="keep", mentions="keep", elongation=False)
TEXTS = ["A good film", "not good , not bad at all , but long long long", "", "bad !"]


def bert_like(max_length: int = 512) -> PreTrainedTokenizerBase:
    """WordPiece with [CLS] and [SEP]."""
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        *"a good film not bad at all but long , ! ##ly ##s http @ user".split(),
    ]
    tokenizer = Tokenizer(models.WordPiece({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=max_length,
    )


def roberta_like(max_length: int = 512) -> PreTrainedTokenizerBase:
    """Byte-level BPE with <s> and </s>, and padding that is not 0."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", *alphabet, "oo", "ĠĠ"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("o", "o"), ("Ġ", "Ġ")], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        pad_token="<pad>",
        cls_token="<s>",
        sep_token="</s>",
        model_max_length=max_length,
    )


BOTH = pytest.mark.parametrize("make", [bert_like, roberta_like])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Great<br /><br />film &amp; cast", "Great film & cast"),
        ("<p class='x'>I <b>loved</b> it</p><!-- no\nmore -->", "I loved it"),
        ("I &lt;3 this, 3 < 4", "I <3 this, 3 < 4"),
        ("<荐书> 推荐 <3", "<荐书> 推荐 <3"),
        ("see https://t.co/aB1?x=1 and WWW.site.org/x", "see http and http"),
        ("@VirginAmerica thanks @you, mail me@home.org", "@user thanks @user, mail me@home.org"),
        ("soooooo gooood!!!!!! nooo... 10000", "sooo goood!!! nooo... 10000"),
        ("😡😡😡😡😡 GOOD :-)", "😡😡😡 GOOD :-)"),
        ("不错不错 好好好好好", "不错不错 好好好"),
        ("  two\n\tlines\u3000end ", "two lines end"),
        ("", ""),
    ],
)
def test_cleaning_takes_away_what_only_splits_the_vocabulary(text: str, expected: str) -> None:
    assert clean(text, PreprocessingConfig()) == expected


def test_each_step_of_cleaning_can_be_left_out() -> None:
    text = "<b>@me</b>  http://x.y  noooo"
    assert clean(text, KEEP_ALL) == "<b>@me</b> http://x.y noooo"
    assert clean(text, PreprocessingConfig(html=False, mentions="keep")) == "<b>@me</b> http nooo"
    assert clean(text, PreprocessingConfig(urls="keep", elongation=False)) == "@user http://x.y noooo"


@given(st.text(max_size=80))
def test_without_options_only_blanks_change(text: str) -> None:
    assert clean(text, KEEP_ALL) == " ".join(text.split())


# A tag that is taken out may leave another behind, so markup is left out here.
@given(st.text(st.characters(exclude_characters="<>&"), max_size=80))
def test_cleaning_twice_changes_nothing(text: str) -> None:
    once = clean(text, PreprocessingConfig())
    assert clean(once, PreprocessingConfig()) == once


@pytest.mark.parametrize(
    ("truncation", "expected"),
    [
        ("head", [0, 1, 2, 3, 4, 5, 6, 7]),
        ("tail", [12, 13, 14, 15, 16, 17, 18, 19]),
        ("head_tail", [0, 1, *range(14, 20)]),
    ],
)
def test_truncation_takes_the_tokens_it_says(truncation: str, expected: list[int]) -> None:
    config = PreprocessingConfig(truncation=truncation)  # type: ignore[arg-type]
    assert truncate(list(range(20)), 8, config) == expected
    assert truncate(list(range(8)), 8, config) == list(range(8))


def test_head_and_tail_have_the_sizes_of_the_paper() -> None:
    kept = truncate(list(range(1000)), 510, PreprocessingConfig(truncation="head_tail"))
    assert kept == [*range(128), *range(1000 - 382, 1000)]


@given(st.integers(0, 60), st.integers(1, 40), st.sampled_from(["head", "tail", "head_tail"]))
def test_truncation_keeps_the_order_and_fills_the_room(n: int, room: int, truncation: str) -> None:
    kept = truncate(list(range(n)), room, PreprocessingConfig(truncation=truncation))  # type: ignore[arg-type]
    assert len(kept) == min(n, room)
    assert kept == sorted(set(kept))


def test_special_tokens_of_both_families() -> None:
    assert special_tokens(bert_like()) == ([2], [3])
    assert special_tokens(roberta_like()) == ([0], [2])


@BOTH
def test_token_ids_are_the_tokenizers_own_when_nothing_is_cut(make: type) -> None:
    tokenizer = make()
    assert token_ids(TEXTS, tokenizer, KEEP_ALL) == tokenizer(TEXTS)["input_ids"]
    assert token_ids([], tokenizer, KEEP_ALL) == []


@BOTH
@pytest.mark.parametrize("truncation", ["head", "tail"])
def test_cut_token_ids_are_the_tokenizers_own(make: type, truncation: str) -> None:
    tokenizer = make()
    tokenizer.truncation_side = "right" if truncation == "head" else "left"
    config = PreprocessingConfig(
        html=False, urls="keep", mentions="keep", elongation=False, max_length=8, truncation=truncation
    )
    expected = tokenizer(TEXTS, truncation=True, max_length=8)["input_ids"]
    assert max(map(len, expected)) == 8
    assert token_ids(TEXTS, tokenizer, config) == expected


@BOTH
def test_head_tail_keeps_both_ends_between_the_special_tokens(make: type) -> None:
    tokenizer = make()
    whole = tokenizer(TEXTS[1])["input_ids"]
    config = PreprocessingConfig(max_length=10, truncation="head_tail")
    assert token_ids(TEXTS[1:2], tokenizer, config) == [[*whole[:3], *whole[-7:]]]


def test_the_text_is_cleaned_first() -> None:
    tokenizer = bert_like()
    expected = tokenizer("@user good http")["input_ids"]
    assert token_ids(["@bob<br/>good  https://x.y"], tokenizer, PreprocessingConfig()) == [expected]


@BOTH
def test_a_shorter_position_table_limits_the_length(make: type) -> None:
    config = PreprocessingConfig(max_length=128)
    assert text_room(make(max_length=12), config) == 10
    assert text_room(make(max_length=512), config) == 126
    ids = token_ids(["good " * 50], make(max_length=12), config)
    assert len(ids[0]) == 12


@BOTH
def test_padding_is_the_tokenizers_own(make: type) -> None:
    tokenizer = make()
    expected = tokenizer(TEXTS, padding="longest", return_tensors="pt")
    padded = pad(tokenizer(TEXTS)["input_ids"], tokenizer)
    assert padded.keys() == {"input_ids", "attention_mask"}
    for name, tensor in padded.items():
        assert torch.equal(tensor, expected[name])
    assert padded["input_ids"].dtype == torch.int64


@given(st.lists(st.lists(st.integers(), max_size=12), max_size=40), st.integers(1, 9))
def test_batches_hold_each_text_once_the_longest_first(sequences: list[list[int]], batch_size: int) -> None:
    batches = list(by_length(sequences, batch_size))
    flat = [index for batch in batches for index in batch]
    assert sorted(flat) == list(range(len(sequences)))
    lengths = [len(sequences[index]) for index in flat]
    assert lengths == sorted(lengths, reverse=True)
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert all(batches)
