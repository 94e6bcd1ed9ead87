"""`transformer-from-scratch run`: train a decoder-only language model on a text, measure it, let it write.

`run` below is the whole story; each of its lines is one module.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from roadmap_shared.config import RunConfig, TrackingConfig
from roadmap_shared.errors import UserError
from roadmap_shared.metrics import bits_per_byte, bits_per_character, mean_and_spread, perplexity
from roadmap_shared.runs import Run, start_run
from transformer_from_scratch.config import LanguageModelConfig, LanguageModelEvaluation, ModelConfig
from transformer_from_scratch.corpus import Corpus, Windows, load_corpus, random_seed
from transformer_from_scratch.evaluation import window_losses
from transformer_from_scratch.language_model_report import ShownTexts, language_model_report
from transformer_from_scratch.models import DecoderLM
from transformer_from_scratch.ngram import KneserNey, unigram_losses
from transformer_from_scratch.processes import Processes, start_processes
from transformer_from_scratch.trainer import mean_tokens_per_second, train

RESUMABLE_CHANGES = (
    "trainer.threads",
    "trainer.device",
    "trainer.evaluate_every",
    "trainer.checkpoint_every",
    "trainer.keep_checkpoints",
)
"""Settings that may differ when a run is resumed: they change no weight."""

SHOWN_TOKENS = 40
"""Tokens of the validation part whose attention is shown; the samples continue the first quarter of them."""


def run(config: LanguageModelConfig) -> dict[str, Any]:
    """Train, evaluate, sample and report; returns the summary."""
    with (
        start_processes(config.trainer) as processes,
        start_run(
            config, project="transformer_from_scratch", command="run", resumable_changes=RESUMABLE_CHANGES
        ) as run,
    ):
        check_seeds(config, processes)
        corpus = load_corpus(config.data, config.model.context)
        shown = choose_shown_texts(corpus, config.evaluation)
        model = build_language_model(config.model, corpus.tokenizer.vocab_size, run.seed)
        model = train(model, LanguageModelTask(corpus, config, run.seed), config.trainer, run, processes)
        scores = score(model, corpus, config)
        if not run.is_main:
            return scores
        scores["tokens_per_second"] = mean_tokens_per_second(run.history())
        scores |= spread_over_seeds(corpus, config, scores["val_loss"], run, processes)
        return run.finish(scores, language_model_report(model, corpus, shown, config, scores, run))


def choose_shown_texts(corpus: Corpus, config: LanguageModelEvaluation) -> ShownTexts:
    """The texts that the report will show, as token ids; before training, so that a bad prompt costs no time.

    Raises:
        UserError: the tokenizer does not know a symbol of a given text.
    """
    beginning = corpus.validation[:SHOWN_TOKENS].tolist()
    given = {"prompt": config.prompt, "attention_text": config.attention_text}
    for name, text in given.items():
        if text == "":
            raise UserError(f"--evaluation.{name} is empty: give at least one character, or leave it out")
    return ShownTexts(
        prompt=beginning[: SHOWN_TOKENS // 4] if config.prompt is None else corpus.tokenizer.encode(config.prompt),
        attention=beginning if config.attention_text is None else corpus.tokenizer.encode(config.attention_text),
    )


class LanguageModelTask:
    """Next-token prediction on random windows of a text."""

    def __init__(self, corpus: Corpus, config: LanguageModelConfig, seed: int) -> None:
        self.tokenizer = corpus.tokenizer
        self.validation = corpus.validation
        self.context, self.batch_size = config.model.context, config.evaluation.batch_size
        self.windows = Windows(corpus.train, self.context, seed)

    def batch(self, step: int, batch_size: int) -> tuple[Tensor, Tensor]:
        """(B, T) inputs and targets of this step."""
        return self.windows.batch(step, batch_size)

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...], label_smoothing: float) -> Tensor:
        """Mean cross-entropy in nats a token."""
        inputs, targets = batch
        return model.loss(inputs, targets, label_smoothing)  # type: ignore[operator]

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Loss in nats a token over the whole validation part."""
        return {"val_loss": window_losses(model, self.validation, self.context, self.batch_size).mean}


def build_language_model(config: ModelConfig, vocab_size: int, seed: int) -> DecoderLM:
    """A model with weights drawn from the seed alone, whatever was drawn before."""
    torch.manual_seed(random_seed(seed))
    return DecoderLM(config, vocab_size)


def check_seeds(config: LanguageModelConfig, processes: Processes) -> None:
    """Raise UserError for several seeds under torchrun."""
    if config.evaluation.n_seeds > 1 and processes.count > 1:
        raise UserError(
            f"--evaluation.n_seeds {config.evaluation.n_seeds} trains in one process: start it without torchrun"
        )


def spread_over_seeds(
    corpus: Corpus, config: LanguageModelConfig, first: float, run: Run, processes: Processes
) -> dict[str, Any]:
    """Train with further seeds, in run folders inside this one, and return the losses of all and their spread.

    A resumed run goes on with the training that was interrupted, and trains none again that is done.
    """
    if config.evaluation.n_seeds == 1:
        return {}
    losses = [first]
    for seed in range(run.seed + 1, run.seed + config.evaluation.n_seeds):
        root = run.folder / "seeds" / str(seed)
        begun = (root / "transformer_from_scratch" / "latest").exists()
        settings = RunConfig(name=f"seed-{seed}", root=root, seed=seed, resume="latest" if begun else None)
        further = replace(config, run=settings, tracking=TrackingConfig(), evaluation=LanguageModelEvaluation())
        with start_run(
            further, project="transformer_from_scratch", command="run", resumable_changes=RESUMABLE_CHANGES
        ) as seed_run:
            model = build_language_model(config.model, corpus.tokenizer.vocab_size, seed)
            model = train(model, LanguageModelTask(corpus, config, seed), config.trainer, seed_run, processes)
            found = window_losses(model, corpus.validation, config.model.context, config.evaluation.batch_size)
            losses.append(found.mean * len(corpus.validation) / corpus.n_validation_characters)
    mean, spread = mean_and_spread(losses)
    return {"val_loss_seeds_mean": mean, "val_loss_seeds_spread": spread, "val_loss_seeds": losses}


def score(model: DecoderLM, corpus: Corpus, config: LanguageModelConfig) -> dict[str, Any]:
    """Loss of every validation character, with its interval, beside n-gram models of the same text.

    All losses are in nats a character, so that tokenizers compare: where tokens are longer than characters, the loss of
    all tokens is spread over all characters.
    """
    losses = window_losses(model, corpus.validation, config.model.context, config.evaluation.batch_size)
    n_characters = corpus.n_validation_characters
    tokens_per_character = len(corpus.validation) / n_characters
    interval = losses.interval(tokens_per_character, config.evaluation.n_resamples)
    nats = interval.estimate
    scores: dict[str, Any] = {
        "val_loss": nats,
        "val_loss_low": interval.low,
        "val_loss_high": interval.high,
        "bits_per_character": bits_per_character(nats),
        "bits_per_byte": bits_per_byte(nats * n_characters, corpus.n_validation_bytes),
        "perplexity_per_token": perplexity(losses.mean),
    }
    return scores | {name: loss * tokens_per_character for name, loss in baselines(corpus).items()}


def baselines(corpus: Corpus) -> dict[str, float]:
    """Nats a token of n-gram models on the validation part (its first token left out, as for the model)."""
    train, validation = corpus.train.numpy(), corpus.validation.numpy()
    vocab_size = corpus.tokenizer.vocab_size
    five_gram = KneserNey(order=5).fit(train, vocab_size) if len(train) >= 5 else None
    losses = {"baseline_unigram": unigram_losses(train, validation, vocab_size)}
    if five_gram is not None:
        losses["baseline_5gram"] = five_gram.losses(validation)
    return {name: float(np.mean(values[1:])) for name, values in losses.items()}
