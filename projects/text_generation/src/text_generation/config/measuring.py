"""How given texts are measured, and how one generation is looked at."""

from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import Positional

from roadmap_shared.config import RunConfig, TrackingConfig
from text_generation.config.backend import BackendConfig
from text_generation.config.decoding import DecodingConfig
from text_generation.config.generating import check_prompt

EVALUATE_BACKEND = BackendConfig(batch_size=4)
"""The logits of a batch are its largest tensor: 4 windows of 1,024 tokens over 50,257 tokens take 0.8 GB."""

MICROSCOPE_DECODING = DecodingConfig(temperature=0.7, top_k=50, top_p=0.9, max_new_tokens=None, default_new_tokens=40)
"""A page on more tokens is long to read."""


@dataclass(kw_only=True, frozen=True)
class TextsConfig:
    """Texts to measure: all documents of a file or folder."""

    path: Path
    """File (.txt, .md, .py, .jsonl, .json, .parquet; each but the last also as .gz) or folder of .txt, .md and .py
    files."""

    text_column: str | None = None
    """Column with the text. None: the first of text, story, content, code, document, completion that is there."""

    separator: str = "<|endoftext|>"
    """Stands between the documents of a .txt, .md or .py file, on a line of its own or within one. A file without it is
    one document."""

    max_documents: int | None = None
    """At most this many documents, the first ones. None: all."""

    def __post_init__(self) -> None:
        if not self.separator.strip():
            raise ValueError("--data.separator is blank: it would cut every text into words")
        if self.max_documents is not None and self.max_documents < 1:
            raise ValueError(f"--data.max_documents {self.max_documents} must be at least 1, or None for all documents")


@dataclass(kw_only=True, frozen=True)
class EvaluateConfig:
    """`evaluate`: how probable given texts are under a model, and how varied they are."""

    data: TextsConfig

    perplexity: bool = True
    """Measure how probable a local model finds the texts. False: their diversity and gzip alone, without a model."""

    window: int | None = None
    """Tokens that the model sees at a time. None: its context, 1,024 at most."""

    stride: int | None = None
    """Tokens by which the window moves on over a long text; each token is predicted from at least window - stride
    others. None: half the window."""

    ngram_path: Path | None = None
    """Training texts, read as --data.path is, for an n-gram model over the model's tokens as a baseline. None: no such
    baseline."""

    ngram_order: int = 5
    """n of the n-gram model."""

    self_bleu_documents: int = 500
    """Self-BLEU compares at most this many documents, drawn by the seed: it keeps all their n-grams in memory."""

    backend: BackendConfig = EVALUATE_BACKEND
    run: RunConfig = field(default_factory=lambda: RunConfig(name="evaluate"))
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        if self.perplexity and self.backend.kind != "hf":
            raise ValueError(
                f"--backend.kind {self.backend.kind}: perplexity needs a local model, since only there the probability "
                "of a given text is known. Take --backend.kind hf, or measure diversity alone with --perplexity False"
            )
        if self.ngram_path is not None and not self.perplexity:
            raise ValueError(
                "--ngram_path needs the model's tokens: leave it out with --perplexity False, or leave that out"
            )
        if self.window is not None and self.window < 2:
            raise ValueError(f"--window {self.window} must be at least 2 tokens: one to predict, and one before it")
        if self.stride is not None and self.stride < 1:
            raise ValueError(f"--stride {self.stride} must be at least 1")
        if self.window is not None and self.stride is not None and self.stride >= self.window:
            raise ValueError(f"--stride {self.stride} must be below --window {self.window}")
        if self.ngram_order < 1:
            raise ValueError(f"--ngram_order {self.ngram_order} must be at least 1")
        if self.self_bleu_documents < 2:
            raise ValueError(f"--self_bleu_documents {self.self_bleu_documents} must be at least 2")


@dataclass(kw_only=True, frozen=True)
class MicroscopeConfig:
    """`microscope`: one generation, token by token, as a page."""

    prompt: Positional[str]
    """What the model goes on with, in quotes."""

    chat: bool = False
    """Ask it as the user's turn of a conversation, in the model's chat template, instead of as a text to go on with."""

    candidates: int = 12
    """The most probable tokens that are listed at each step."""

    beam_tokens: int = 12
    """New tokens of the beam search that is drawn beside the answer, at most."""

    backend: BackendConfig = field(default_factory=BackendConfig)
    decoding: DecodingConfig = MICROSCOPE_DECODING
    run: RunConfig = field(default_factory=lambda: RunConfig(name="microscope"))
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        check_prompt(self.prompt, 'microscope "Once upon a time"')
        if self.backend.kind != "hf":
            raise ValueError(
                f"--backend.kind {self.backend.kind}: the microscope needs a local model, since it looks at the "
                "probability of every token. Take --backend.kind hf"
            )
        if self.decoding.strategy == "beam_search":
            raise ValueError(
                "--decoding.strategy beam_search: the microscope follows one answer. Take greedy or sampling; a beam "
                "search is shown beside it"
            )
        if self.decoding.is_constrained:
            raise ValueError(
                "the microscope shows what a model does when it is free: leave out --decoding.json_schema and "
                "--decoding.regex"
            )
        for name in ("candidates", "beam_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} {getattr(self, name)} must be at least 1")
