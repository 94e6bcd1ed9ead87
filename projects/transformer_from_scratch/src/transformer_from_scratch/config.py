"""Every setting of the project: one frozen dataclass a concern. Importing this file is cheap: no torch."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from roadmap_shared.config import RunConfig, TrackingConfig

PositionName = Literal["none", "sinusoidal", "learned", "rotary", "alibi"]
NormName = Literal["layer", "rms"]
NormPosition = Literal["pre", "post"]
ActivationName = Literal["relu", "relu2", "gelu", "gelu_tanh", "swiglu"]
TokenizerName = Literal["character", "bpe", "wordpiece"]


@dataclass(kw_only=True, frozen=True)
class ModelConfig:
    """Shape of the Transformer."""

    n_layers: int = 4
    """Number of blocks (of the encoder and of the decoder each, in an encoder-decoder)."""

    d_model: int = 128
    """Width of the residual stream; a multiple of n_heads."""

    n_heads: int = 4
    """Attention heads."""

    n_kv_heads: int | None = None
    """Key/value heads of grouped-query attention; divides n_heads. None: as many as n_heads."""

    d_hidden: int = 512
    """Width between the two layers of the feed-forward part; 4 × d_model is usual."""

    context: int = 128
    """Longest sequence, in tokens."""

    positions: PositionName = "rotary"
    """Positional encoding."""

    rotary_base: float = 10_000.0
    """Longest wavelength of rotary and sinusoidal positions is 2π × this, in tokens."""

    norm: NormName = "layer"
    """Normalisation: layer norm or root-mean-square norm."""

    norm_position: NormPosition = "pre"
    """Normalise the input of each sub-layer (pre) or the sum behind it (post, as in the paper of 2017)."""

    activation: ActivationName = "gelu"
    """Non-linearity of the feed-forward part; swiglu adds a third matrix."""

    bias: bool = False
    """Whether linear layers and layer norms have a bias."""

    qk_norm: bool = False
    """Normalise each query and key head, which bounds the attention scores."""

    dropout: float = 0.0
    """Probability of zeroing an activation in training, 0 to below 1."""

    tie_embeddings: bool = True
    """Use the token embeddings as output head too (Press & Wolf 2017)."""

    scale_embeddings: bool = False
    """Multiply token embeddings by sqrt(d_model) (Vaswani et al. 2017, §3.4)."""

    ngram_orders: tuple[int, ...] = ()
    """Lengths of n-grams that get an embedding of their own, added to the token's: 2 3 for the last two and the last
    three tokens. Decoder-only models; None by default."""

    ngram_rows: int = 8192
    """Rows of each table of n-grams; where there are more n-grams, several share a row."""

    ngram_width: int = 32
    """Width of each table of n-grams."""

    n_experts: int = 1
    """Feed-forward experts a block; above 1 the block is a mixture of experts."""

    n_chosen_experts: int = 2
    """Experts each token is sent to, in a mixture of experts."""

    balancing_weight: float = 0.01
    """Weight of the load-balancing loss of a mixture of experts."""

    def __post_init__(self) -> None:
        for name in ("n_layers", "d_model", "n_heads", "d_hidden", "context", "n_experts"):
            if getattr(self, name) < 1:
                raise ValueError(f"--model.{name} {getattr(self, name)} must be at least 1")
        if self.d_model % self.n_heads:
            raise ValueError(
                f"--model.d_model {self.d_model} is not a multiple of --model.n_heads {self.n_heads}; "
                f"with {self.n_heads} heads use {self._nearest_width()}"
            )
        if self.n_kv_heads is not None and (self.n_kv_heads < 1 or self.n_heads % self.n_kv_heads):
            raise ValueError(f"--model.n_kv_heads {self.n_kv_heads} does not divide --model.n_heads {self.n_heads}")
        if not self.rotary_base > 0:
            raise ValueError(f"--model.rotary_base {self.rotary_base} must be above 0")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"--model.dropout {self.dropout} must be at least 0 and below 1")
        if self.n_experts > 1 and not 1 <= self.n_chosen_experts <= self.n_experts:
            raise ValueError(
                f"--model.n_chosen_experts {self.n_chosen_experts} must lie between 1 and "
                f"--model.n_experts {self.n_experts}"
            )
        if len(set(self.ngram_orders)) != len(self.ngram_orders) or any(not 2 <= n <= 8 for n in self.ngram_orders):
            raise ValueError(f"--model.ngram_orders {self.ngram_orders} must be different numbers from 2 to 8")
        for name in ("ngram_rows", "ngram_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"--model.{name} {getattr(self, name)} must be at least 1")

    def _nearest_width(self) -> int:
        return max(1, round(self.d_model / self.n_heads)) * self.n_heads


@dataclass(kw_only=True, frozen=True)
class TrainerConfig:
    """How a model is trained."""

    steps: int = 1000
    """Optimiser steps."""

    batch_size: int = 16
    """Sequences a step, over all processes and accumulation steps together. Where --data.batch_tokens bounds a step's
    batch, the number of its sequences is a multiple of this."""

    accumulation_steps: int = 1
    """Parts into which a step's batch is cut, one forward and backward pass each; saves memory."""

    optimizer: Literal["muon", "adamw"] = "muon"
    """muon: Muon for hidden matrices, AdamW for the rest. adamw: AdamW for everything."""

    learning_rate: float = 3e-3
    """Peak learning rate of AdamW."""

    muon_learning_rate: float = 0.02
    """Peak learning rate of Muon."""

    muon_iteration: Literal["newton_schulz", "polar_express"] = "polar_express"
    """How Muon orthogonalises: five steps of one polynomial, or three of the best one for each step."""

    beta1: float = 0.9
    """Decay of AdamW's mean of gradients, a step."""

    beta2: float = 0.99
    """Decay of AdamW's mean of squared gradients, a step."""

    weight_decay: float = 0.0
    """Share of each matrix removed per step and unit of learning rate."""

    schedule: Literal["cosine", "wsd", "constant"] = "cosine"
    """Learning rate after the warm-up: cosine, or stable then a linear decay (wsd), or constant."""

    warmup_steps: int = 20
    """Steps over which the learning rate rises linearly to its peak."""

    decay_share: float = 0.5
    """Last share of all steps over which wsd decays."""

    final_lr_share: float = 0.0
    """Share of the peak learning rate that is left at the end."""

    clip_norm: float = 1.0
    """Longest gradient, as the norm over all parameters; longer ones are scaled down. 0: no limit."""

    label_smoothing: float = 0.0
    """Share of the target probability spread over all tokens (Szegedy et al. 2016), in training only."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: autocast forward and backward to bfloat16; weights stay fp32."""

    compile: bool = False
    """Compile the model with torch.compile (needs a C++ compiler on CPU; the first step takes a minute)."""

    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes a GPU where there is one."""

    threads: int | None = None
    """CPU threads. None: PyTorch's own choice."""

    parallel: Literal["ddp", "fsdp"] = "ddp"
    """Under torchrun: copies of the model (ddp), or the model cut into shards (fsdp, needs adamw)."""

    evaluate_every: int = 250
    """Steps between evaluations on the whole validation part. Evaluation never changes training."""

    checkpoint_every: int = 250
    """Steps between checkpoints; the last step always leaves one."""

    keep_checkpoints: int = 2
    """Checkpoints kept, newest first."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulation_steps", "evaluate_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"--trainer.{name} {getattr(self, name)} must be at least 1")
        if self.keep_checkpoints < 1:
            raise ValueError(f"--trainer.keep_checkpoints {self.keep_checkpoints} must be at least 1")
        if self.batch_size % self.accumulation_steps:
            raise ValueError(
                f"--trainer.batch_size {self.batch_size} is not a multiple of "
                f"--trainer.accumulation_steps {self.accumulation_steps}"
            )
        for name in ("learning_rate", "muon_learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"--trainer.{name} {getattr(self, name)} must be above 0")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"--trainer.{name} {getattr(self, name)} must be at least 0 and below 1")
        for name in ("warmup_steps", "clip_norm", "weight_decay"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"--trainer.{name} {getattr(self, name)} must be at least 0")
        if not 0 < self.decay_share <= 1:
            raise ValueError(f"--trainer.decay_share {self.decay_share} must be above 0 and at most 1")
        if not 0 <= self.final_lr_share <= 1:
            raise ValueError(f"--trainer.final_lr_share {self.final_lr_share} must be between 0 and 1")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"--trainer.label_smoothing {self.label_smoothing} must be at least 0 and below 1")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"--trainer.threads {self.threads} must be at least 1")


@dataclass(kw_only=True, frozen=True)
class CorpusConfig:
    """The text of a language model."""

    path: Path | None = None
    """Text file (.txt or any UTF-8 text, .gz too) or a folder of them. None: the Python language reference."""

    name: str | None = None
    """Data set on the Hugging Face hub instead, such as roneneldan/TinyStories (needs the extra `hub`)."""

    split: str = "train"
    """Split of the hub data set."""

    column: str = "text"
    """Column of the hub data set that holds the text."""

    tokenizer: TokenizerName = "character"
    """Tokens: characters, byte-level BPE, or WordPiece, trained on the training part."""

    vocabulary: int = 2048
    """Number of tokens of a BPE or WordPiece tokenizer."""

    validation_share: float = 0.1
    """Last share of the text, held out for validation."""

    def __post_init__(self) -> None:
        if self.path is not None and self.name is not None:
            raise ValueError("--data.path and --data.name exclude each other: give one of them")
        if not 0 < self.validation_share < 1:
            raise ValueError(f"--data.validation_share {self.validation_share} must be between 0 and 1")


@dataclass(kw_only=True, frozen=True)
class LanguageModelEvaluation:
    """What is measured and shown after training a language model."""

    batch_size: int = 32
    """Validation windows a forward pass."""

    prompt: str | None = None
    """Start of every sample. None: the first words of the validation part."""

    sample_length: int = 400
    """Tokens a sample."""

    temperatures: tuple[float, ...] = (0.0, 0.5, 0.8, 1.0)
    """Sampling temperatures; 0 is greedy."""

    attention_text: str | None = None
    """Text whose attention maps the report shows. None: the beginning of the validation part."""

    n_resamples: int = 2000
    """Bootstrap resamples of each interval."""


@dataclass(kw_only=True, frozen=True)
class LanguageModelConfig:
    """`run`: a decoder-only language model."""

    run: RunConfig = field(default_factory=RunConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    data: CorpusConfig = field(default_factory=CorpusConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    evaluation: LanguageModelEvaluation = field(default_factory=LanguageModelEvaluation)


@dataclass(kw_only=True, frozen=True)
class MaskingConfig:
    """Which tokens a masked language model has to guess (Devlin et al. 2019, §3.1)."""

    share: float = 0.15
    """Share of tokens to guess."""

    masked: float = 0.8
    """Share of those shown as <mask>."""

    replaced: float = 0.1
    """Share of those shown as a random other token; the rest stays as it is."""

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"--masking.share {self.share} must be between 0 and 1")
        if self.masked < 0 or self.replaced < 0 or self.masked + self.replaced > 1:
            raise ValueError("--masking.masked and --masking.replaced are shares that sum to at most 1")


@dataclass(kw_only=True, frozen=True)
class MaskedLMEvaluation:
    """What is measured and shown after training a masked language model."""

    batch_size: int = 32
    """Validation windows a forward pass."""

    n_examples: int = 4
    """Validation windows shown with their guesses."""

    n_resamples: int = 2000
    """Bootstrap resamples of each interval."""


@dataclass(kw_only=True, frozen=True)
class MaskedLMConfig:
    """`mlm`: a bidirectional encoder that guesses hidden tokens."""

    run: RunConfig = field(default_factory=RunConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    data: CorpusConfig = field(default_factory=CorpusConfig)
    masking: MaskingConfig = field(default_factory=MaskingConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    evaluation: MaskedLMEvaluation = field(default_factory=MaskedLMEvaluation)

    def __post_init__(self) -> None:
        check_without_ngrams(self.model)  # an n-gram would give its hidden token away


@dataclass(kw_only=True, frozen=True)
class SequenceEvaluation:
    """How an encoder-decoder is measured after training."""

    batch_size: int = 128
    """Sources a forward pass, in validation and decoding."""

    beams: int = 1
    """Hypotheses that beam search keeps; 1 decodes greedily."""

    length_penalty: float = 0.6
    """Beam search favours longer outputs the more the higher this is (alpha of Wu et al. 2016)."""

    n_examples: int = 8
    """Examples in the report."""

    n_resamples: int = 2000
    """Bootstrap resamples of each interval."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "beams", "n_resamples"):
            if getattr(self, name) < 1:
                raise ValueError(f"--evaluation.{name} {getattr(self, name)} must be at least 1")
        if not 0 <= self.length_penalty < math.inf:
            raise ValueError(f"--evaluation.length_penalty {self.length_penalty} must be a finite number of at least 0")
        if self.n_examples < 0:
            raise ValueError(f"--evaluation.n_examples {self.n_examples} must be at least 0")


@dataclass(kw_only=True, frozen=True)
class DateDataConfig:
    """Written dates, generated."""

    n_train: int = 100_000
    """Written dates to train on, drawn anew from the training dates and the forms."""

    n_validation: int = 500
    """Written dates that the validation loss is measured on, of dates that are neither trained nor tested on."""

    n_test: int = 4000
    """Written dates to test on, of dates that occur nowhere else, each form equally often."""

    held_out_share: float = 0.1
    """Share of the 73,049 dates from 1900 to 2099 that is tested on; half as many again are for validation."""

    batch_tokens: int = 2048
    """Sequences × length of the longest source or target that a step's batch holds at most. The number of its
    sequences is a multiple of --trainer.batch_size."""

    def __post_init__(self) -> None:
        for name in ("n_train", "n_validation", "n_test"):
            if getattr(self, name) < 1:
                raise ValueError(f"--data.{name} {getattr(self, name)} must be at least 1")
        if not 0.01 <= self.held_out_share <= 0.5:
            raise ValueError(f"--data.held_out_share {self.held_out_share} must be between 0.01 and 0.5")


@dataclass(kw_only=True, frozen=True)
class ParallelTextConfig:
    """Sentence pairs: a two-column file, or two files whose lines belong together; gzip where the name ends in .gz."""

    path: Path | None = None
    """Two columns with a TAB between, source and target; further columns are ignored."""

    source: Path | None = None
    """Sentences of the source language, one a line, instead of --data.path."""

    target: Path | None = None
    """Their translations, line by line."""

    validation_path: Path | None = None
    """Validation pairs as two columns. Without validation files, a share of the pairs is held out."""

    validation_source: Path | None = None
    """Source sentences of the validation pairs."""

    validation_target: Path | None = None
    """Their translations, line by line."""

    test_path: Path | None = None
    """Test pairs as two columns. Without test files, a share of the pairs is held out."""

    test_source: Path | None = None
    """Source sentences of the test pairs."""

    test_target: Path | None = None
    """Their translations, line by line."""

    validation_share: float = 0.02
    """Share of the source sentences that is held out for validation."""

    test_share: float = 0.05
    """Share of the source sentences that is held out for the test."""

    vocabulary: int = 3000
    """Tokens of the byte-level BPE that both languages share."""

    batch_tokens: int = 4096
    """Sequences × length of the longest source or target that a step's batch holds at most. The number of its
    sequences is a multiple of --trainer.batch_size."""

    def __post_init__(self) -> None:
        for part in ("", "validation_", "test_"):
            path, source, target = (getattr(self, f"{part}{name}") for name in ("path", "source", "target"))
            if path is not None and (source is not None or target is not None):
                raise ValueError(
                    f"--data.{part}path and --data.{part}source/--data.{part}target exclude each other: give one or "
                    "the other"
                )
            if (source is None) != (target is None):
                missing = "target" if target is None else "source"
                raise ValueError(f"--data.{part}source and --data.{part}target go together: give {missing} too")
        for name in ("validation_share", "test_share"):
            if not 0 < getattr(self, name) < 0.5:
                raise ValueError(f"--data.{name} {getattr(self, name)} must be above 0 and below 0.5")


def check_sequence_shape(batch_tokens: int, trainer: TrainerConfig, model: ModelConfig) -> None:
    """Raise ValueError for settings that an encoder-decoder or its batches cannot have."""
    needed = trainer.batch_size * model.context
    if batch_tokens < needed:
        raise ValueError(
            f"--data.batch_tokens {batch_tokens} is too small for --trainer.batch_size {trainer.batch_size} "
            f"sequences of --model.context {model.context} tokens: give at least {needed}"
        )
    check_without_ngrams(model)


def check_without_ngrams(model: ModelConfig) -> None:
    """Raise ValueError for n-gram embeddings in a model that sees, or writes, more than one text."""
    if model.ngram_orders:
        raise ValueError(f"--model.ngram_orders {model.ngram_orders} are for decoder-only models: leave them out")


@dataclass(kw_only=True, frozen=True)
class DatesConfig:
    """`dates`: an encoder-decoder that rewrites dates as ISO 8601."""

    run: RunConfig = field(default_factory=RunConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    data: DateDataConfig = field(default_factory=DateDataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    evaluation: SequenceEvaluation = field(default_factory=SequenceEvaluation)

    def __post_init__(self) -> None:
        check_sequence_shape(self.data.batch_tokens, self.trainer, self.model)


@dataclass(kw_only=True, frozen=True)
class TranslationConfig:
    """`translate`: an encoder-decoder that translates sentences."""

    run: RunConfig = field(default_factory=RunConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    data: ParallelTextConfig = field(default_factory=ParallelTextConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    evaluation: SequenceEvaluation = field(default_factory=SequenceEvaluation)

    def __post_init__(self) -> None:
        check_sequence_shape(self.data.batch_tokens, self.trainer, self.model)


@dataclass(kw_only=True, frozen=True)
class SamplingConfig:
    """How the next token is drawn from the model's distribution."""

    temperature: float = 0.8
    """Divides the logits before the softmax: below 1 safer, above 1 wilder. 0 takes the most probable token."""

    top_k: int | None = None
    """Draw from this many most probable tokens only. None: no limit."""

    top_p: float | None = None
    """Draw from the fewest tokens that together have this probability, above 0 and up to 1. None: no limit."""

    min_p: float | None = None
    """Draw from tokens at least this share as probable as the most probable one, 0 to 1. None: no limit."""

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise ValueError(f"--temperature {self.temperature} must be a finite number of at least 0")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"--top_k {self.top_k} must be at least 1")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"--top_p {self.top_p} must be above 0 and at most 1")
        if self.min_p is not None and not 0 <= self.min_p <= 1:
            raise ValueError(f"--min_p {self.min_p} must lie between 0 and 1")


@dataclass(kw_only=True, frozen=True)
class GenerateConfig(SamplingConfig):
    """`generate`: continue prompts with a trained language model."""

    checkpoint: str = "latest"
    """Model: a run folder, a checkpoint folder, or `latest` for the newest run."""

    gpt2: str | None = None
    """GPT-2 model instead: a Hugging Face folder, or a hub id such as openai-community/gpt2."""

    prompt: tuple[str, ...] = ("The ",)
    """Texts to continue, one after another."""

    length: int = 200
    """Tokens to add to each prompt at most."""

    beams: int = 1
    """Above 1: beam search for the most probable continuation, which draws nothing and ignores temperature."""

    length_penalty: float = 0.0
    """Beam search favours longer texts the more the higher this is (alpha of Wu et al. 2016); 0 compares plain
    probabilities."""

    stop: str | None = None
    """Text at which a continuation ends; it is left out. None: at the length, or at the model's end token."""

    seed: int = 1337
    """Seeds the draws; at least 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gpt2 is not None and self.checkpoint != "latest":
            raise ValueError("--checkpoint and --gpt2 exclude each other: give one of them")
        if not self.prompt or "" in self.prompt:
            raise ValueError("--prompt must be one or more texts, none of them empty")
        if self.stop == "":
            raise ValueError("--stop must not be an empty text; leave it out to go on to --length")
        for name in ("length", "beams"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} {getattr(self, name)} must be at least 1")
        if not 0 <= self.length_penalty < math.inf:
            raise ValueError(f"--length_penalty {self.length_penalty} must be a finite number of at least 0")
        filters = [f"--{name}" for name in ("top_k", "top_p", "min_p") if getattr(self, name) is not None]
        if self.beams > 1 and filters:
            raise ValueError(f"--beams {self.beams} draws nothing: leave out {' and '.join(filters)}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"--seed {self.seed} is outside 0 … {2**32 - 1}")


@dataclass(kw_only=True, frozen=True)
class DoctorConfig:
    """`doctor`: examine an attention, a model, a norm or a loss that somebody else wrote."""

    target: Positional[str]
    """my_module:MyAttention or path/to/file.py:MyAttention, a class or a function. Its code is imported and run."""

    kind: Literal["auto", "attention", "model", "norm", "loss"] = "auto"
    """What the target is; auto decides by its name and layers."""

    arguments: tuple[str, ...] = ()
    """Constructor arguments, as in: d_model=64 n_heads=4. The others are chosen small."""

    causal: bool | None = None
    """Whether it must not see the future. None: by its name and behaviour."""

    mask: Literal["auto", "attend", "ignore"] = "auto"
    """What True means in its masks; auto goes by the argument's name."""

    shifted: bool | None = None
    """Whether targets come shifted already. None: `labels` are the tokens themselves, `targets` are shifted."""

    seed: int = 0
    """Seeds weights and inputs."""
