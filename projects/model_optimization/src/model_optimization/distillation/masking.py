"""Words that a masked language model has to guess. Shapes: B texts of a batch, T tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from model_optimization.torch_classifier import TorchClassifier
from roadmap_shared.errors import UserError

_MASK_SHARE, _RANDOM_SHARE = 0.8, 0.1  # of the chosen tokens; the rest stays as it is

NO_WORD = -1
"""Stands for special tokens and padding, which are never chosen."""


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """What masking needs to know of a tokenizer."""

    mask_id: int
    ordinary: Tensor
    """(V',) the tokens that are not special: random replacements come from them."""

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> "Vocabulary":
        """Of a tokenizer with a mask.

        Raises:
            UserError: it has none.
        """
        if not isinstance(tokenizer.mask_token_id, int):
            raise UserError(
                "the teacher's tokenizer has no mask token, so there is no masked-language stage: leave --mlm.texts out"
            )
        special = set(tokenizer.all_special_ids)
        ordinary = [token for token in range(len(tokenizer)) if token not in special]
        return cls(mask_id=tokenizer.mask_token_id, ordinary=torch.tensor(ordinary))


def choose_words(words: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Each word is chosen with the probability `share`, and with it all its tokens.

    Whole-word masking (Cui et al. 2021, "Pre-Training with Whole Word Masking for Chinese BERT", §3.1, after BERT's
    release of May 2019): the piece `##ing` beside a seen `work` is guessed without any understanding. Where each token
    is a word of its own, this is the masking of Devlin et al. 2019.

    Args:
        words: (B, T) number of each token's word in its text, `NO_WORD` where it is not to be chosen.
        share: between 0 and 1.
        generator: of the draws.

    Returns:
        (B, T) bool.
    """
    drawn = torch.rand(words.size(0), int(words.max()) + 2, generator=generator) < share  # (B, words)
    return drawn.gather(1, words.clamp(min=0)) & (words != NO_WORD)


def hide(input_ids: Tensor, chosen: Tensor, vocabulary: Vocabulary, generator: torch.Generator) -> Tensor:
    """Of the chosen tokens, 80 % become the mask, 10 % a random token, and 10 % stay.

    In use there is no mask: the network must not rely on it (Devlin et al. 2019, "BERT", §3.1 and A.1).

    Args:
        input_ids: (B, T).
        chosen: (B, T) bool.
        vocabulary: of the tokenizer.
        generator: of the draws.

    Returns:
        (B, T).
    """
    draw = torch.rand(input_ids.shape, generator=generator)
    places = torch.randint(len(vocabulary.ordinary), input_ids.shape, generator=generator)
    hidden = torch.where(chosen & (draw < _MASK_SHARE), vocabulary.mask_id, input_ids)
    replaced = chosen & (draw >= _MASK_SHARE) & (draw < _MASK_SHARE + _RANDOM_SHARE)
    return torch.where(replaced, vocabulary.ordinary[places], hidden)


def word_numbers(classifier: TorchClassifier, texts: Sequence[str], *, whole_words: bool) -> list[list[int]]:
    """For each token of each text the number of its word, `NO_WORD` at special tokens.

    Args:
        classifier: whose tokens. A tokenizer that does not know its words gives each token a number of its own.
        texts: N of them.
        whole_words: False gives each token a number of its own.
    """
    tokenizer = classifier.tokenizer
    if whole_words and tokenizer.is_fast and texts:
        encoded = tokenizer(list(texts), truncation=True, max_length=classifier.max_length)
        return [[NO_WORD if word is None else word for word in encoded.word_ids(text)] for text in range(len(texts))]
    special = {token for token in tokenizer.all_special_ids if token != tokenizer.unk_token_id}
    return [
        [NO_WORD if token in special else place for place, token in enumerate(sequence)]
        for sequence in classifier.token_ids(texts)
    ]


def padded_words(words: Sequence[Sequence[int]]) -> Tensor:
    """Numbers of the words of B texts -> (B, T), `NO_WORD` at padding."""
    rows = torch.full((len(words), max(map(len, words))), NO_WORD)
    for row, numbers in zip(rows, words, strict=True):
        row[: len(numbers)] = torch.tensor(numbers)
    return rows
