"""The report of a language model: what it learned, how it writes, where it looks, what it cost."""

from dataclasses import dataclass
from typing import Any

import torch

from roadmap_shared.metrics import Interval, bits_per_character
from roadmap_shared.report import (
    Callout,
    Code,
    Figure,
    KeyFigure,
    KeyFigures,
    Report,
    Sample,
    Section,
    Table,
    Text,
    figure_style,
    render,
)
from roadmap_shared.runs import Run
from transformer_from_scratch import figures
from transformer_from_scratch.config import LanguageModelConfig, SamplingConfig
from transformer_from_scratch.corpus import Corpus, random_seed
from transformer_from_scratch.evaluation import evaluating
from transformer_from_scratch.flops import decoder_costs, measured_matmul_rate, training_flops_per_token
from transformer_from_scratch.generate import generate
from transformer_from_scratch.models import DecoderLM, count_parameters

MOST_MAP_TOKENS = 48
"""Attention maps of more tokens have no legible labels."""


@dataclass(frozen=True)
class ShownTexts:
    """Token ids of the texts that the report shows."""

    prompt: list[int]
    """What the samples continue."""

    attention: list[int]
    """What the attention maps are drawn of."""


def language_model_report(
    model: DecoderLM,
    corpus: Corpus,
    shown: ShownTexts,
    config: LanguageModelConfig,
    scores: dict[str, Any],
    run: Run,
) -> str:
    """The whole page as HTML; also saves each figure in the run folder."""
    with figure_style():
        sections = [
            learning_section(scores, run),
            sample_section(model, corpus, shown.prompt, config, run.seed),
            attention_section(model, corpus, shown.attention, run),
            position_section(config, run),
            cost_section(model, config, scores),
            next_section(run),
        ]
        report = Report(
            title="A Transformer, trained from scratch",
            subtitle=f"{count_parameters(model):,} parameters learn to continue a text, one token at a time.",
            project="transformer_from_scratch",
            command=f"transformer-from-scratch run --config {run.folder / 'config.yaml'}",
            facts={
                "text": corpus.origin,
                "tokens": f"{len(corpus.train):,} to train on, {len(corpus.validation):,} held out, "
                f"vocabulary of {corpus.tokenizer.vocab_size:,}",
                "seed": str(run.seed),
                "PyTorch": f"{torch.__version__}, CPU threads: {torch.get_num_threads()}",
                "seconds": round(run.seconds),
            },
            lead=[headline(scores)],
            sections=sections,
        )
        return render(report)


def headline(scores: dict[str, Any]) -> KeyFigures:
    """The figures at the top of the page."""
    loss = Interval(scores["val_loss"], scores["val_loss_low"], scores["val_loss_high"])
    return KeyFigures(
        [
            KeyFigure("validation loss", loss, "nats per character, every held-out character"),
            KeyFigure("bits per character", round(scores["bits_per_character"], 3), "the same in bits"),
            KeyFigure("5-gram baseline", round(scores["baseline_5gram"], 3), "Kneser-Ney, nats per character"),
            KeyFigure("training speed", round(scores["tokens_per_second"]), "tokens per second, median step"),
        ]
    )


def learning_section(scores: dict[str, Any], run: Run) -> Section:
    """Loss over the steps, and the final loss beside the baselines."""
    baselines = {"5-gram model": scores["baseline_5gram"]}
    figure = figures.loss_curve(run.history(), baselines, "nats per token")
    run.log_figure("loss", figure)
    table = Table(
        ["model", "nats per character", "bits per character"],
        [
            ["how often each character occurs", *nats_and_bits(scores["baseline_unigram"])],
            ["5-gram, Kneser-Ney smoothing", *nats_and_bits(scores["baseline_5gram"])],
            ["this Transformer", *nats_and_bits(scores["val_loss"])],
        ],
        caption="Loss on the whole held-out part. Lower is better.",
        highlight_best={"nats per character": "min", "bits per character": "min"},
        formats={"nats per character": ".3f", "bits per character": ".3f"},
    )
    curve = Figure(figure, "Training and validation loss, and the learning rate.", "loss against step")
    return Section(
        "What it learned",
        [curve, table, *seed_blocks(scores)],
        "The loss is the surprise at the true next token. The validation loss is exact: every held-out character is "
        "predicted once, each window of the text from its own beginning.",
    )


def seed_blocks(scores: dict[str, Any]) -> list[Text]:
    """What several seeds gave, where several were trained."""
    if "val_loss_seeds" not in scores:
        return []
    losses = ", ".join(f"{loss:.4f}" for loss in scores["val_loss_seeds"])
    return [
        Text(
            f"**{scores['val_loss_seeds_mean']:.4f} ± {scores['val_loss_seeds_spread']:.4f}** nats per character over "
            f"{len(scores['val_loss_seeds'])} seeds (mean and standard deviation; one by one: {losses})."
        )
    ]


def nats_and_bits(nats: float) -> tuple[float, float]:
    """The same loss in both units."""
    return nats, bits_per_character(nats)


def sample_section(
    model: DecoderLM, corpus: Corpus, prompt: list[int], config: LanguageModelConfig, seed: int
) -> Section:
    """What the model writes after the prompt, at several temperatures."""
    blocks = []
    for temperature in config.evaluation.temperatures:
        generator = torch.Generator().manual_seed(random_seed(seed))
        (new,) = generate(
            model,
            [prompt],
            max_new_tokens=config.evaluation.sample_length,
            sampling=SamplingConfig(temperature=temperature),
            generator=generator,
        )
        label = "temperature 0 (greedy)" if temperature == 0 else f"temperature {temperature:g}"
        blocks.append(Sample(corpus.tokenizer.decode(new), label, corpus.tokenizer.decode(prompt)))
    return Section(
        "How it writes",
        blocks,
        "A low temperature repeats what is likely, a high one invents. Greedy decoding tends to run in circles: the "
        "most probable text is not a typical text.",
    )


def attention_section(model: DecoderLM, corpus: Corpus, ids: list[int], run: Run) -> Section:
    """Where each head looks while reading a sentence."""
    ids = ids[: min(MOST_MAP_TOKENS, model.config.context)]
    maps: list[torch.Tensor] = []
    device = next(model.parameters()).device
    with evaluating(model):
        model(torch.tensor([ids], device=device), attention_maps=maps)
    tokens = [corpus.tokenizer.token_text(token) for token in ids]
    figure = figures.attention_maps([weights[0] for weights in maps], tokens)
    run.log_figure("attention", figure)
    return Section(
        "Where it looks",
        [
            Figure(
                figure,
                "Attention weights of every head, from each token (row) to itself and those before.",
                "attention",
            )
        ],
        "Each row sums to 1. Look for heads that watch the previous token (a line under the diagonal), the start of "
        "the word, or an earlier occurrence of the same letters.",
    )


def position_section(config: LanguageModelConfig, run: Run) -> Section:
    """The four ways of telling positions, and which one was used."""
    figure = figures.positional_encodings(config.model.positions)
    run.log_figure("positions", figure)
    return Section(
        "How it knows the order",
        [
            Figure(figure, "What each positional encoding adds to a model.", "positional encodings"),
            Text(
                f"This model uses **{config.model.positions}** positions. Try the others: "
                "`--model.positions sinusoidal`, `learned`, `rotary`, `alibi` or `none`."
            ),
        ],
    )


def cost_section(model: DecoderLM, config: LanguageModelConfig, scores: dict[str, Any]) -> Section:
    """Parameters and arithmetic by part, and how much of the machine's speed the training used."""
    costs = decoder_costs(config.model, model.vocab_size)
    total_flops = sum(cost.flops_per_token for cost in costs)
    table = Table(
        ["part", "parameters", "FLOP per token, forward", "share of FLOP"],
        [
            *(
                [
                    cost.part,
                    cost.parameters,
                    cost.flops_per_token,
                    f"{100 * cost.flops_per_token / total_flops:.1f} %",
                ]
                for cost in costs
            ),
            ["all", count_parameters(model), total_flops, "100 %"],
        ],
        caption="Training costs three times the forward pass.",
        formats={"parameters": ",d", "FLOP per token, forward": ",.0f"},
    )
    machine = measured_matmul_rate(next(model.parameters()).device)
    reached = training_flops_per_token(config.model, model.vocab_size) * scores["tokens_per_second"]
    return Section(
        "What it cost",
        [
            table,
            KeyFigures(
                [
                    KeyFigure(
                        "matrix products",
                        round(machine / 1e9, 1),
                        "what this machine reaches, 1024 × 1024",
                        "GFLOP/s",
                    ),
                    KeyFigure("training", round(reached / 1e9, 1), "at the median step", "GFLOP/s"),
                    KeyFigure(
                        "model FLOPs utilisation",
                        round(100 * reached / machine, 1),
                        "the ratio of the two",
                        "%",
                    ),
                ]
            ),
        ],
    )


def next_section(run: Run) -> Section:
    """What to try after this."""
    return Section(
        "What to try next",
        [
            Text(
                "- Another text: any UTF-8 file or folder.\n"
                "- Take something away (`--model.positions none`, `--model.ngram_orders`, `--trainer.optimizer adamw`) "
                "and see what it was worth.\n"
                "- Break the attention on purpose and ask the doctor."
            ),
            Code("transformer-from-scratch run --data.path my_book.txt"),
            Code(f"transformer-from-scratch generate --checkpoint {run.folder} --prompt 'The ' --temperature 0.8"),
            Code("transformer-from-scratch doctor transformer_from_scratch.attention:MultiHeadAttention"),
            Callout(
                "A loss on the training text says nothing: a model can learn a text by heart. Only the held-out part "
                "counts.",
                "tip",
            ),
        ],
    )
