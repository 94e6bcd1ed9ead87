"""How stories are written and conversations held."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from text_generation.config.backend import BackendConfig
from text_generation.config.decoding import DecodingConfig

WritingStyle = Literal["chat", "headers"]
WRITING_DECODING = DecodingConfig(
    strategy="sampling", temperature=0.8, top_p=0.95, max_new_tokens=None, default_new_tokens=1024
)
"""For each step of a story: 1,024 tokens, or what the context has room for."""
CHAT_DECODING = DecodingConfig(
    strategy="sampling", temperature=0.7, top_p=0.9, max_new_tokens=None, default_new_tokens=512
)
"""For an answer in a conversation: 512 tokens, or what the context has room for."""


@dataclass(kw_only=True, frozen=True)
class WriteConfig:
    """`write`: a story by way of an outline, a draft, a critique and a revision, each kept in a folder."""

    theme: str | None = None
    """What the story is about, such as "a lost key"; with --style headers sea, forest, space, castle, desert, winter,
    farm or city. None: as the folder says."""

    hero: str | None = None
    """Name of the main character. None: as the folder says."""

    pronoun: Literal["she", "he", "they"] | None = None
    """The hero's. None: as the folder says, or either, but the same throughout."""

    cast: tuple[str, ...] | None = None
    """Names of other characters, which may look like the hero's. None: as the folder says, or none."""

    mood: str | None = None
    """How it is told; with --style headers gentle, funny, spooky, bold or dreamy. None: as the folder says, or
    gentle."""

    ending: str | None = None
    """happy, sad, surprise, lesson or open; with --style chat also any phrase, such as "the key is found". None: as the
    folder says, or happy."""

    min_words: int | None = None
    """Words of the story at least. None: as the folder says, or 200; with --style headers 60."""

    max_words: int | None = None
    """Words of the story at most. None: as the folder says, or 600; with --style headers 120."""

    folder: Path = Path("story")
    """Where every step is kept. The same command goes on there; a step whose file you edit stays as you left it."""

    briefs: Path | None = None
    """JSONL file of stories to write, {"theme": ..., "hero": ...} on each line, in numbered folders, and beside each a
    plain draft without the assistant: how often both do what was asked is reported."""

    style: WritingStyle = "chat"
    """chat: an instruct model is asked at every step; headers: the built-in story model, which goes on from control
    fields, writes several drafts, and the checker picks one."""

    samples: int | None = None
    """Drafts, and revisions, among which the checker picks. None: 1; with --style headers 8."""

    attempts: int = 3
    """How often a step is asked before its unusable answers end the work."""

    templates: Path | None = None
    """Folder with templates of your own, outline.yaml, draft.yaml, critique.yaml, revision.yaml or baseline.yaml, which
    take the place of the shipped ones."""

    seed: int = 0
    """Of the sampling."""

    backend: BackendConfig = field(default_factory=BackendConfig)
    """Model."""

    decoding: DecodingConfig = WRITING_DECODING
    """How it answers. With --style headers an answer has 200 tokens at most."""

    def __post_init__(self) -> None:
        for name in ("samples", "attempts", "min_words", "max_words"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"--{name} {value} must be at least 1")
        if self.samples is not None and self.samples > 1 and self.decoding.strategy != "sampling":
            raise ValueError(f"--samples {self.samples} drafts differ with --decoding.strategy sampling only")
        if self.briefs is not None:
            for name in ("theme", "hero", "pronoun", "cast", "mood", "ending", "min_words", "max_words"):
                if getattr(self, name) is not None:
                    raise ValueError(f"--{name} goes without --briefs: write it into the lines of {self.briefs}")
        if self.templates is not None and self.style == "headers":
            raise ValueError("--templates goes with --style chat: the built-in model knows headers only")

    @property
    def n_samples(self) -> int:
        """`samples`, or the style's default; one where every sample would be the same."""
        if self.samples is not None:
            return self.samples
        return 8 if self.style == "headers" and self.decoding.strategy == "sampling" else 1


@dataclass(kw_only=True, frozen=True)
class ChatConfig:
    """`chat`: a conversation in the terminal, or with the lines of a pipe. /help lists what can be typed."""

    history: Path | None = None
    """JSONL file of the conversation; one that exists is gone on with. None: a new one in runs/text_generation/chats,
    named at the end."""

    system: str | None = None
    """System prompt. None: that of the history, if it has one; "": none."""

    seed: int = 0
    """Of the sampling; every answer draws anew."""

    backend: BackendConfig = field(default_factory=BackendConfig)
    """Model."""

    decoding: DecodingConfig = CHAT_DECODING
    """How it answers."""
