"""How a model is fine-tuned on conversations and aligned with preferences or rewards."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from roadmap_shared.config import RunConfig, TrackingConfig
from text_generation.config.coding import ProblemsConfig, SandboxConfig


@dataclass(kw_only=True, frozen=True)
class StartConfig:
    """The model that training starts from."""

    name: str = "latest"
    """latest for the model that `run` trained or used last, a folder, or a hub id. A folder with a LoRA adapter counts
    with its adapter merged."""

    chat_template: Literal["own", "built-in"] = "own"
    """own: the template that the model's tokenizer has; built-in: that of this project, whose marks are added to the
    tokenizer as tokens. For a base model, which has none."""

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("--model.name is empty: give latest, a folder or a hub id")


@dataclass(kw_only=True, frozen=True)
class ChatDataConfig:
    """Conversations to fine-tune on."""

    path: Path | None = None
    """.jsonl file whose rows hold messages, or prompt and completion, or instruction, input and output. None: requests
    for stories in plain words, answered by the built-in grammar."""

    stories: int = 1600
    """Built-in conversations to write. None has the fields of a request that is measured on."""

    validation_share: float = 0.1
    """Share of the rows that is held out for the validation loss. 0: none."""

    max_rows: int | None = None
    """The first so many rows. None: all."""

    split_seed: int = 1
    """Seeds the built-in conversations and the split."""

    def __post_init__(self) -> None:
        if self.stories < 2:
            raise ValueError(f"--data.stories {self.stories} must be at least 2")
        if not 0 <= self.validation_share < 0.9:
            raise ValueError(f"--data.validation_share {self.validation_share} must be at least 0 and below 0.9")
        if self.max_rows is not None and self.max_rows < 1:
            raise ValueError(f"--data.max_rows {self.max_rows} must be at least 1, or None for all")


@dataclass(kw_only=True, frozen=True)
class PreferenceDataConfig:
    """Pairs of answers to align with, and prompts for rewards."""

    path: Path | None = None
    """.jsonl file whose rows hold prompt, chosen and rejected; for GRPO, prompt and the fields theme, hero, mood and
    ending. None: requests for stories in plain words."""

    built_in: Literal["swapped", "sampled"] = "swapped"
    """swapped: a story as asked for, against one in which a single field is another; sampled: two answers of the model
    itself, of which the story checker finds one obedient and one not."""

    pairs: int = 400
    """Built-in pairs, or prompts for rewards; sampled ones may be fewer."""

    samples: int = 4
    """Answers drawn for each request where built_in is sampled."""

    max_rows: int | None = None
    """The first so many rows. None: all."""

    split_seed: int = 2
    """Seeds the built-in pairs."""

    def __post_init__(self) -> None:
        if self.pairs < 1:
            raise ValueError(f"--data.pairs {self.pairs} must be at least 1")
        if self.samples < 2:
            raise ValueError(f"--data.samples {self.samples} must be at least 2: a pair has two answers")
        if self.max_rows is not None and self.max_rows < 1:
            raise ValueError(f"--data.max_rows {self.max_rows} must be at least 1, or None for all")


@dataclass(kw_only=True, frozen=True)
class AdapterConfig:
    """Which weights are trained."""

    method: Literal["full", "lora", "qlora"] = "full"
    """full: all; lora: low-rank updates of the linear layers (Hu et al. 2022); qlora: lora on a base in 4 bits
    (Dettmers et al. 2023), which needs a GPU and bitsandbytes."""

    rank: int = 16
    """Rank of the updates."""

    alpha: float = 32.0
    """The updates are multiplied by alpha / rank."""

    dropout: float = 0.0
    """Dropout before the updates."""

    target_modules: tuple[str, ...] | None = None
    """Ends of the names of the layers to adapt, such as q_proj v_proj. None: every linear layer but the output."""

    merge: bool = True
    """Besides the adapter, write the model with the adapter added to its weights. Not with qlora, whose base is in 4
    bits: add the adapter to the base in full precision afterwards, by naming its folder as --model.name."""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"--adapter.rank {self.rank} must be at least 1")
        if not self.alpha > 0:
            raise ValueError(f"--adapter.alpha {self.alpha} must be above 0")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"--adapter.dropout {self.dropout} must be at least 0 and below 1")
        if self.target_modules is not None and not self.target_modules:
            raise ValueError("--adapter.target_modules names no layer: give some, or None for all linear ones")


@dataclass(kw_only=True, frozen=True)
class TuningConfig:
    """Optimisation by AdamW, through TRL's trainers."""

    steps: int | None = None
    """Optimiser steps. None: as many as the epochs take."""

    epochs: float = 1.0
    """Passes over the data, where steps is None."""

    batch_size: int = 16
    """Rows an optimiser step, over all accumulation steps of one process together."""

    accumulation_steps: int = 1
    """Parts into which a step's batch is cut; saves memory."""

    learning_rate: float = 5e-4
    """Peak learning rate."""

    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate falls after the warm-up."""

    warmup_share: float = 0.05
    """Share of the steps over which the learning rate rises to its peak."""

    weight_decay: float = 0.0
    """Decoupled weight decay."""

    clip_norm: float = 1.0
    """Longest gradient, as the norm over all weights. 0: no limit."""

    max_length: int | None = None
    """Tokens of a row at most; longer rows are left out and counted. None: as many as the model's context holds."""

    packing: bool = False
    """Put several conversations into one row (SFT only). Each attends to itself alone."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: mixed precision, for a GPU."""

    gradient_checkpointing: bool = False
    """Compute activations twice instead of keeping them: less memory, a third more time."""

    checkpoint_every: int = 200
    """Steps between two checkpoints."""

    device: Literal["auto", "cpu"] = "auto"
    """auto: a GPU where there is one."""

    threads: int | None = None
    """CPU threads. None: PyTorch's own choice."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "accumulation_steps", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"--trainer.{name} {getattr(self, name)} must be at least 1")
        for name in ("steps", "threads", "max_length"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"--trainer.{name} {value} must be at least 1")
        if not self.epochs > 0 or not self.learning_rate > 0:
            name = "epochs" if not self.epochs > 0 else "learning_rate"
            raise ValueError(f"--trainer.{name} {getattr(self, name)} must be above 0")
        if self.batch_size % self.accumulation_steps:
            raise ValueError(
                f"--trainer.batch_size {self.batch_size} is not a multiple of "
                f"--trainer.accumulation_steps {self.accumulation_steps}"
            )
        if not 0 <= self.warmup_share < 1:
            raise ValueError(f"--trainer.warmup_share {self.warmup_share} must be at least 0 and below 1")
        for name in ("weight_decay", "clip_norm"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"--trainer.{name} {getattr(self, name)} must be at least 0")


@dataclass(kw_only=True, frozen=True)
class RewardConfig:
    """GRPO (Shao et al. 2024, "DeepSeekMath", section 4.1): answers are drawn in groups and compared within them."""

    reward: Literal["story", "code"] = "story"
    """story: the share of the story checker's demands that an answer meets; code: whether a program passes its
    problem's tests in the sandbox."""

    generations: int = 8
    """Answers a group; --trainer.batch_size counts answers and is a multiple of it."""

    max_new_tokens: int = 200
    """Tokens of an answer at most."""

    temperature: float = 1.0
    """Of the sampling."""

    kl: float = 0.0
    """Weight of the divergence from the model at the start. 0, as is usual for rewards that a program checks, needs no
    second model."""

    def __post_init__(self) -> None:
        if self.generations < 2:
            raise ValueError(f"--grpo.generations {self.generations} must be at least 2: a group is compared within")
        if self.max_new_tokens < 1:
            raise ValueError(f"--grpo.max_new_tokens {self.max_new_tokens} must be at least 1")
        if not self.temperature > 0:
            raise ValueError(f"--grpo.temperature {self.temperature} must be above 0")
        if not self.kl >= 0:
            raise ValueError(f"--grpo.kl {self.kl} must be at least 0")


@dataclass(kw_only=True, frozen=True)
class FinetuneConfig:
    """`finetune`: supervised fine-tuning on conversations, with the loss on the answers alone."""

    run: RunConfig = field(default_factory=lambda: RunConfig(name="finetune"))
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    model: StartConfig = field(default_factory=StartConfig)
    data: ChatDataConfig = field(default_factory=ChatDataConfig)
    adapter: AdapterConfig = field(default_factory=AdapterConfig)
    trainer: TuningConfig = field(default_factory=TuningConfig)

    stories: int = 0
    """Held-out requests for stories that are measured before and after. 0: none, as for data of one's own."""

    def __post_init__(self) -> None:
        if self.stories < 0:
            raise ValueError(f"--stories {self.stories} must be at least 0")


@dataclass(kw_only=True, frozen=True)
class AlignConfig:
    """`align`: make preferred answers more probable, by DPO on pairs or by GRPO on rewards."""

    method: Literal["dpo", "grpo"] = "dpo"
    """dpo: direct preference optimisation on pairs (Rafailov et al. 2023); grpo: rewards for sampled answers."""

    beta: float = 0.1
    """DPO's weight of staying near the model at the start: the larger, the nearer."""

    run: RunConfig = field(default_factory=lambda: RunConfig(name="align"))
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    model: StartConfig = field(default_factory=StartConfig)
    data: PreferenceDataConfig = field(default_factory=PreferenceDataConfig)
    problems: ProblemsConfig = field(default_factory=ProblemsConfig)
    adapter: AdapterConfig = field(default_factory=AdapterConfig)
    trainer: TuningConfig = field(default_factory=lambda: TuningConfig(learning_rate=5e-5))
    grpo: RewardConfig = field(default_factory=RewardConfig)
    sandbox: SandboxConfig = field(default_factory=SandboxConfig)

    stories: int = 0
    """Held-out requests for stories that are measured before and after. 0: none, as for data of one's own."""

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ValueError(f"--beta {self.beta} must be above 0")
        if self.stories < 0:
            raise ValueError(f"--stories {self.stories} must be at least 0")
        if self.trainer.packing:
            raise ValueError("--trainer.packing is for finetune: align compares whole answers")
        if self.method == "grpo" and self.trainer.batch_size % self.grpo.generations:
            raise ValueError(
                f"--trainer.batch_size {self.trainer.batch_size} is not a multiple of "
                f"--grpo.generations {self.grpo.generations}"
            )
