"""`transformer-from-scratch mlm`: train an encoder to guess hidden tokens (Devlin et al. 2019, §3.1).

The same story as `train_simple_lm`, with the model that sees both sides of a token.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from roadmap_shared.metrics import bootstrap_ratio
from roadmap_shared.runs import start_run
from transformer_from_scratch.config import MaskedLMConfig, MaskingConfig
from transformer_from_scratch.corpus import Corpus, Windows, load_corpus, random_seed
from transformer_from_scratch.evaluation import evaluating
from transformer_from_scratch.masked_lm_report import masked_lm_report
from transformer_from_scratch.models import IGNORED, MaskedLM
from transformer_from_scratch.processes import start_processes
from transformer_from_scratch.train_simple_lm import RESUMABLE_CHANGES
from transformer_from_scratch.trainer import mean_tokens_per_second, train

MASK = "<mask>"


def run(config: MaskedLMConfig) -> dict[str, Any]:
    """Train, evaluate and report; returns the summary."""
    with (
        start_processes(config.trainer) as processes,
        start_run(
            config, project="transformer_from_scratch", command="mlm", resumable_changes=RESUMABLE_CHANGES
        ) as run,
    ):
        corpus = load_corpus(config.data, config.model.context, special_tokens=(MASK,))
        torch.manual_seed(random_seed(run.seed))
        model = MaskedLM(config.model, corpus.tokenizer.vocab_size)
        task = MaskedLMTask(corpus, config, run.seed)
        model = train(model, task, config.trainer, run, processes)
        scores = score(model, task, corpus, config)
        if not run.is_main:
            return scores
        scores["tokens_per_second"] = mean_tokens_per_second(run.history())
        examples = [guesses(model, task, window) for window in range(config.evaluation.n_examples)]
        return run.finish(scores, masked_lm_report(model, corpus, config, scores, examples, run))


def hide_tokens(
    tokens: Tensor,
    mask_id: int,
    first_id: int,
    vocab_size: int,
    config: MaskingConfig,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Choose tokens to guess, and hide most of them (Devlin et al. 2019, §3.1 and appendix A.1).

    Of the chosen, `config.masked` become <mask>, `config.replaced` a random token, and the rest stay: so the model
    cannot trust any token that it sees, also where none is masked.

    Args:
        tokens: (B, T).
        mask_id: id of <mask>.
        first_id: the lowest id of an ordinary token; a random token is drawn from [first_id, vocab_size).

    Returns:
        What the model sees, and the targets: the true token where it was chosen, `IGNORED` elsewhere. (B, T) each.
    """
    chosen = torch.rand(tokens.shape, generator=generator) < config.share
    fate = torch.rand(tokens.shape, generator=generator)
    random_tokens = torch.randint(first_id, vocab_size, tokens.shape, generator=generator)
    masked = chosen & (fate < config.masked)
    replaced = chosen & (fate >= config.masked) & (fate < config.masked + config.replaced)
    shown = torch.where(masked, mask_id, torch.where(replaced, random_tokens, tokens))
    return shown, torch.where(chosen, tokens, IGNORED)


class MaskedLMTask:
    """Guessing hidden tokens in random windows of a text; in validation the same tokens are hidden every time."""

    def __init__(self, corpus: Corpus, config: MaskedLMConfig, seed: int) -> None:
        self.tokenizer, self.seed, self.masking = corpus.tokenizer, seed, config.masking
        self.mask_id = corpus.tokenizer.special_id(MASK)
        self.batch_size = config.evaluation.batch_size
        context = config.model.context
        self.windows = Windows(corpus.train, context, seed)
        n_whole = len(corpus.validation) // context
        whole_windows = corpus.validation[: n_whole * context].view(n_whole, context)
        self.validation = self.hide(whole_windows, torch.Generator().manual_seed(0))

    def hide(self, tokens: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(B, T) tokens -> (B, T) shown tokens and (B, T) targets."""
        first_ordinary = len(self.tokenizer.special_tokens)
        return hide_tokens(tokens, self.mask_id, first_ordinary, self.tokenizer.vocab_size, self.masking, generator)

    def batch(self, step: int, batch_size: int) -> tuple[Tensor, Tensor]:
        """(B, T) shown tokens and targets of this step."""
        tokens, _ = self.windows.batch(step, batch_size)
        return self.hide(tokens, torch.Generator().manual_seed(random_seed(self.seed, step)))

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...], label_smoothing: float) -> Tensor:
        """Mean cross-entropy in nats a hidden token."""
        shown, targets = batch
        return model.loss(shown, targets, label_smoothing)  # type: ignore[operator]

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Loss and accuracy over all hidden tokens of the validation part."""
        losses, hits, counts = self.window_scores(model)
        return {
            "val_loss": float(losses.sum() / counts.sum()),
            "val_accuracy": float(hits.sum() / counts.sum()),
        }

    def window_scores(self, model: nn.Module) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Summed loss in nats, right guesses, and hidden tokens of each validation window."""
        device = next(model.parameters()).device
        shown, targets = self.validation
        rows: list[Tensor] = []
        with evaluating(model):
            for start in range(0, len(shown), self.batch_size):
                target = targets[start : start + self.batch_size].to(device)
                logits = model(shown[start : start + self.batch_size].to(device)).float()  # (B, T, V)
                losses = F.cross_entropy(logits.transpose(1, 2), target, ignore_index=IGNORED, reduction="none")
                hits = (logits.argmax(dim=-1) == target).sum(dim=1)
                rows.append(torch.stack((losses.sum(dim=1), hits, (target != IGNORED).sum(dim=1)), dim=1))
        sums = torch.cat(rows).double().cpu().numpy()  # (windows, 3)
        sums = sums[sums[:, 2] > 0]  # a window may have nothing hidden
        return sums[:, 0], sums[:, 1], sums[:, 2]


def score(model: MaskedLM, task: MaskedLMTask, corpus: Corpus, config: MaskedLMConfig) -> dict[str, Any]:
    """Loss and accuracy on hidden validation tokens with intervals, beside always guessing the most frequent token."""
    losses, hits, counts = task.window_scores(model)
    resamples = config.evaluation.n_resamples
    loss = bootstrap_ratio(losses, counts, n_resamples=resamples)
    accuracy = bootstrap_ratio(hits, counts, n_resamples=resamples)
    most_frequent = int(corpus.train.bincount().argmax())
    hidden = task.validation[1]
    hidden = hidden[hidden != IGNORED]
    return {
        "val_loss": loss.estimate,
        "val_loss_low": loss.low,
        "val_loss_high": loss.high,
        "val_accuracy": accuracy.estimate,
        "val_accuracy_low": accuracy.low,
        "val_accuracy_high": accuracy.high,
        "baseline_accuracy": float((hidden == most_frequent).float().mean()),
    }


def guesses(model: MaskedLM, task: MaskedLMTask, window: int) -> tuple[str, str, str]:
    """A validation window as the model sees it (hidden tokens as ▮), as it fills it in, and as it is."""
    shown, targets = (part[window % len(part)] for part in task.validation)
    device = next(model.parameters()).device
    with evaluating(model):
        best = model(shown[None].to(device))[0].argmax(dim=-1).cpu()
    hidden = targets != IGNORED
    decode = task.tokenizer.decode
    seen = "".join(
        "▮" if is_hidden else decode([token]) for token, is_hidden in zip(shown.tolist(), hidden, strict=True)
    )
    return (
        seen,
        decode(torch.where(hidden, best, shown).tolist()),
        decode(torch.where(hidden, targets, shown).tolist()),
    )
