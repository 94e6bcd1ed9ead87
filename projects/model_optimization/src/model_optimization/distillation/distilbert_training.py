"""Distillation on plain texts with DistilBERT's triple loss, before the student learns a task.

Sanh et al. 2019, "DistilBERT, a distilled version of BERT", §3. Shapes: B texts, T tokens, M masked tokens, H wide,
V tokens of the vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from model_optimization.config.distillation import MaskedLanguageConfig
from model_optimization.config.model import ModelConfig
from model_optimization.config.trainer import TrainerConfig
from model_optimization.distillation.masked_language import (
    MaskedLanguageModel,
    WordPrediction,
    checkpoint_head,
    copied,
    encoder_of,
    untrained_head,
)
from model_optimization.distillation.masking import (
    NO_WORD,
    Vocabulary,
    choose_words,
    hide,
    padded_words,
    word_numbers,
)
from model_optimization.distillation.pairs import same_tokens
from model_optimization.distillation.teacher_student import mean_where, soft_target_loss
from model_optimization.model import untrained_classifier
from model_optimization.pretrained import is_classifier, read_config
from model_optimization.torch_classifier import TorchClassifier
from model_optimization.training import Batch, Loss, TokenisedTexts, TrainingResult, fine_tune, tokenised
from model_optimization.types import Texts
from roadmap_shared.errors import UserError
from roadmap_shared.offline import minilm_folder

Hide = Callable[[Batch], "MaskedBatch"]
"""Draws the words of a batch that are to be guessed: others at each call."""


@dataclass(frozen=True, kw_only=True)
class MaskedBatch:
    """Texts with words to guess."""

    inputs: dict[str, Tensor]
    """`input_ids`, partly hidden, and `attention_mask`: (B, T)."""

    chosen: Tensor
    """(B, T) bool, true at the M tokens to guess."""

    targets: Tensor
    """(M,) what they are."""


def masked_word_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean of -log p(word) over the hidden words: (M, V) logits, (M,) targets."""
    return -torch.log_softmax(logits, dim=-1).gather(1, targets[:, None]).mean()


def cosine_loss(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Mean over tokens of 1 - cos(student, teacher): the states are to point the same way, whatever their length.

    Args:
        student, teacher: (B, T, H).
        mask: (B, T), 0 at padding.
    """
    lengths = student.norm(dim=-1) * teacher.norm(dim=-1)  # (B, T)
    return mean_where(1 - (student * teacher).sum(-1) / lengths.clamp(min=1e-8), mask)


def triple_loss(
    student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor], masked: MaskedBatch, config: MaskedLanguageConfig
) -> Tensor:
    """Weighted sum of teacher's probabilities over the vocabulary, masked words, and cosine of the last states.

    The first is counted at the masked tokens only, as with `--restrict_ce_to_mask` of DistilBERT's own script: all
    tokens times the vocabulary is more than the rest of the step.

    Args:
        student, teacher: (M, V) logits and (B, T, H) last states.
        masked: the batch.
        config: temperature and weights.
    """
    soft = soft_target_loss(student[0], teacher[0], config.temperature).mean()
    loss = config.distillation_weight * soft + config.masked_weight * masked_word_loss(student[0], masked.targets)
    if config.cosine_weight:  # without it, the two may differ in width
        mask = masked.inputs["attention_mask"].to(student[1].dtype)
        loss = loss + config.cosine_weight * cosine_loss(student[1], teacher[1], mask)
    return loss


def distil_on_texts(
    teacher: PreTrainedModel,
    student: TorchClassifier,
    texts: Sequence[str],
    config: MaskedLanguageConfig,
    trainer: TrainerConfig,
    *,
    seed: int,
    head: WordPrediction | None = None,
) -> TrainingResult:
    """Train the student's encoder in place to guess masked words as the teacher does.

    Where the teacher has no word prediction, one that is tied to its embeddings is trained first, its encoder left as
    it is. The student's starts as a copy; neither is part of what is kept.

    Args:
        teacher: an encoder of the student's width, with its vocabulary.
        student: whose encoder learns; its classification layer is left alone.
        texts: plain ones.
        config: epochs, weights and how words are hidden.
        trainer: batch size, weight decay and warm-up.
        seed: of what is hidden, of order and dropout.
        head: the teacher's word prediction. None: it has none.

    Raises:
        UserError: there is no text, or the two do not belong together.
        FloatingPointError: the loss is no number; the learning rate is too high.
    """
    _check_encoders(teacher, student, config)
    data, draw = hidden_words(student, texts, config, seed)
    settings = replace(trainer, epochs=config.epochs, learning_rate=config.learning_rate, head_factor=1.0)
    with frozen(teacher):
        if head is None:
            print("the teacher has no word prediction: one that is tied to its embeddings is trained first")
            head = untrained_head(teacher, seed)
            guesser, passes = MaskedLanguageModel(teacher, head), replace(settings, epochs=config.head_epochs)
            fine_tune(guesser, data, passes, seed=seed, loss=_words_alone(draw), description="word prediction")
        theirs = MaskedLanguageModel(teacher, head.requires_grad_(False)).eval()
        learner = MaskedLanguageModel(encoder_of(student.network), _start(head, teacher, student, seed))
        loss = _all_three(theirs, draw, config)
        return fine_tune(learner, data, settings, seed=seed, loss=loss, description="distilling on texts")


def general_teacher(
    source: str, student: TorchClassifier, *, seed: int
) -> tuple[PreTrainedModel, WordPrediction | None]:
    """A pretrained encoder to learn words from, and its word prediction where it comes with one.

    Args:
        source: `minilm` (built in), a folder, or an id on the hub.
        student: which is to have the same tokens.
        seed: of what is not in the checkpoint.

    Raises:
        UserError: it cannot be read, is a classifier, or cuts texts into other tokens than the student.
    """
    place = str(minilm_folder()) if source == "minilm" else source
    if is_classifier(read_config(place)):
        raise UserError(
            f"--mlm.teacher {source}: is a classifier: give an encoder, or leave the flag out to learn words from the "
            "encoder of --model.path"
        )
    settings = ModelConfig(name=place, max_length=student.max_length)
    encoder = untrained_classifier(settings, student.labels, seed)
    if not same_tokens(encoder, student):
        raise UserError(f"--mlm.teacher {source}: cuts texts into other tokens than the student: use another one")
    return encoder_of(encoder.network), checkpoint_head(place)


def hidden_words(
    student: TorchClassifier, texts: Sequence[str], config: MaskedLanguageConfig, seed: int
) -> tuple[TokenisedTexts, Hide]:
    """The texts that have a word to guess, and a function that draws the words of a batch.

    Raises:
        UserError: there is no such text, or the tokenizer has no mask.
    """
    vocabulary = Vocabulary.of(student.tokenizer)
    numbers = word_numbers(student, texts, whole_words=config.whole_words)
    kept = [index for index, words in enumerate(numbers) if any(word != NO_WORD for word in words)]
    if not kept:
        raise UserError("there is no plain text to distil on: give --mlm.texts a file with a text on each line")
    usable = Texts(texts=tuple(texts[index] for index in kept), targets=np.zeros(len(kept), dtype=np.int64))
    generator = torch.Generator().manual_seed(seed)

    def draw(batch: Batch) -> MaskedBatch:
        words = padded_words([numbers[kept[index]] for index in batch.indices.tolist()])
        chosen = choose_words(words, config.masked_share, generator)
        if not chosen.any():  # a mean over no words is no number
            chosen[0] = (words[0] == words[0].max()) & (words[0] != NO_WORD)
        input_ids = batch.inputs["input_ids"]
        inputs = {**batch.inputs, "input_ids": hide(input_ids, chosen, vocabulary, generator)}
        return MaskedBatch(inputs=inputs, chosen=chosen, targets=input_ids[chosen])

    return tokenised(student, usable), draw


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Within it, no weight of the network is trained."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def _words_alone(draw: Hide) -> Loss:
    def loss(network: nn.Module, batch: Batch) -> Tensor:
        masked = draw(batch)
        logits, _ = network(masked.inputs, masked.chosen)
        return masked_word_loss(logits, masked.targets)

    return loss


def _all_three(teacher: MaskedLanguageModel, draw: Hide, config: MaskedLanguageConfig) -> Loss:
    def loss(network: nn.Module, batch: Batch) -> Tensor:
        masked = draw(batch)
        with torch.no_grad():
            theirs = teacher(masked.inputs, masked.chosen)
        return triple_loss(network(masked.inputs, masked.chosen), theirs, masked, config)

    return loss


def _start(head: WordPrediction, teacher: PreTrainedModel, student: TorchClassifier, seed: int) -> WordPrediction:
    """The student's word prediction: a copy of the teacher's, or, for another width, a new one."""
    encoder = encoder_of(student.network)
    if encoder.config.hidden_size != teacher.config.hidden_size:
        return untrained_head(encoder, seed)
    return copied(head)


def _check_encoders(teacher: PreTrainedModel, student: TorchClassifier, config: MaskedLanguageConfig) -> None:
    own, theirs = student.network.config, teacher.config
    if own.vocab_size != theirs.vocab_size:
        raise UserError(
            f"the student has {own.vocab_size:,} tokens and the teacher {theirs.vocab_size:,}, so that they cannot be "
            "compared word by word: leave --mlm.texts out, or use a teacher with the student's tokenizer"
        )
    if config.cosine_weight and own.hidden_size != theirs.hidden_size:
        raise UserError(
            f"the student's states are {own.hidden_size} wide and the teacher's {theirs.hidden_size}, so that there is "
            "no angle between them: set --mlm.cosine_weight to 0"
        )
