import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model_optimization.distillation.masking import (
    NO_WORD,
    Vocabulary,
    choose_words,
    hide,
    padded_words,
    word_numbers,
)
from roadmap_shared.errors import UserError

from .tiny_models import SPECIAL, WORDS, tiny_classifier, tiny_tokenizer

MASK, FIRST = SPECIAL.index("[MASK]"), len(SPECIAL)
VOCABULARY = Vocabulary.of(tiny_tokenizer())


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def five_sigma(share: float, n: int) -> float:
    return 5 * (share * (1 - share) / n) ** 0.5


def test_the_vocabulary_leaves_special_tokens_out():
    assert VOCABULARY.mask_id == MASK
    assert VOCABULARY.ordinary.tolist() == list(range(FIRST, FIRST + len(WORDS)))


def test_of_chosen_tokens_eight_tenths_are_masked_one_replaced_and_one_kept():
    n = 200_000
    ids = torch.randint(FIRST, FIRST + len(WORDS), (100, n // 100), generator=generator(1))
    hidden = hide(ids, torch.ones_like(ids, dtype=torch.bool), VOCABULARY, generator())
    # One replacement in as many as there are words is the word itself.
    replaced = 0.1 * (1 - 1 / len(WORDS))
    for found, share in (((hidden == MASK), 0.8), (hidden == ids, 0.2 - replaced)):
        assert found.float().mean().item() == pytest.approx(share, abs=five_sigma(share, n))
    others = hidden[(hidden != MASK) & (hidden != ids)]
    assert len(others) / n == pytest.approx(replaced, abs=five_sigma(replaced, n))
    counts = torch.bincount(others, minlength=FIRST + len(WORDS))
    assert counts[:FIRST].sum() == 0
    expected = len(others) / len(WORDS)
    assert ((counts[FIRST:] - expected).abs() < 5 * expected**0.5).all()


def test_tokens_that_are_not_chosen_stay():
    ids = torch.randint(FIRST, FIRST + len(WORDS), (50, 40), generator=generator(1))
    chosen = torch.rand(ids.shape, generator=generator(2)) < 0.5
    hidden = hide(ids, chosen, VOCABULARY, generator())
    assert torch.equal(hidden[~chosen], ids[~chosen])


@pytest.mark.parametrize("share", [0.15, 0.4])
def test_each_word_is_chosen_with_the_same_probability(share: float):
    words = torch.tensor([[NO_WORD, 0, 1, 1, 2, 3, 3, 3, NO_WORD]]).expand(50_000, -1)
    chosen = choose_words(words, share, generator())
    rates = chosen.float().mean(0)
    for place in range(1, 8):
        assert rates[place].item() == pytest.approx(share, abs=five_sigma(share, len(words)))
    assert rates[0] == rates[8] == 0
    # Words are drawn independently of each other.
    both = (chosen[:, 1] & chosen[:, 4]).float().mean().item()
    assert both == pytest.approx(share**2, abs=five_sigma(share**2, len(words)))


@given(
    st.lists(st.lists(st.integers(NO_WORD, 5), min_size=1, max_size=9), min_size=1, max_size=6),
    st.integers(0, 1000),
    st.floats(0.05, 0.95),
)
def test_a_word_is_chosen_whole_or_not_at_all(rows: list[list[int]], seed: int, share: float):
    words = padded_words(rows)
    chosen = choose_words(words, share, generator(seed))
    assert not chosen[words == NO_WORD].any()
    for row, picked in zip(words, chosen, strict=True):
        for word in set(row.tolist()) - {NO_WORD}:
            assert len(set(picked[row == word].tolist())) == 1


def test_words_of_a_tokenizer():
    classifier = tiny_classifier(layers=1)
    texts = ["a good films", "loved !"]
    tokens = [classifier.tokenizer.convert_ids_to_tokens(ids) for ids in classifier.token_ids(texts)]
    assert tokens == [["[CLS]", "a", "good", "film", "##s", "[SEP]"], ["[CLS]", "loved", "!", "[SEP]"]]
    assert word_numbers(classifier, texts, whole_words=True) == [[-1, 0, 1, 2, 2, -1], [-1, 0, 1, -1]]
    assert word_numbers(classifier, texts, whole_words=False) == [[-1, 1, 2, 3, 4, -1], [-1, 1, 2, -1]]
    assert word_numbers(classifier, [], whole_words=True) == []


def test_words_are_cut_off_with_their_text():
    classifier = tiny_classifier(layers=1)
    classifier.max_length = 4
    text = ["a good film and a bad plot"]
    for whole_words in (True, False):
        numbers = word_numbers(classifier, text, whole_words=whole_words)
        assert list(map(len, numbers)) == list(map(len, classifier.token_ids(text))) == [4]


def test_a_tokenizer_without_a_mask():
    tokenizer = tiny_tokenizer()
    tokenizer.mask_token = None
    with pytest.raises(UserError) as caught:
        Vocabulary.of(tokenizer)
    assert str(caught.value) == (
        "the teacher's tokenizer has no mask token, so there is no masked-language stage: leave --mlm.texts out"
    )
