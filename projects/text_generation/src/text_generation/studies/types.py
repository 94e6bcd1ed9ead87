"""What a study is given, and what it returns."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from roadmap_shared.errors import UserError
from roadmap_shared.report import Section
from roadmap_shared.runs import Run
from text_generation.backends.hf import HuggingFaceBackend
from text_generation.backends.types import Prompt
from text_generation.config import EvaluationConfig, GenerationConfig
from text_generation.corpora.types import Corpus
from text_generation.evaluation.obedience import Obedience


@dataclass(frozen=True)
class Bench:
    """The run's model and all that a study may ask it about."""

    config: GenerationConfig
    run: Run
    corpus: Corpus
    source: str
    """Folder or hub id of the model."""

    backend: HuggingFaceBackend
    obedience: Obedience | None
    """What the model does when it is asked by headers; None where the corpus has no stories."""

    @property
    def sizes(self) -> EvaluationConfig:
        """How much is asked."""
        return self.config.evaluation

    @property
    def is_built_in(self) -> bool:
        """The model was trained here on built-in stories, which it writes below headers."""
        return self.config.model.name is None and "story" in self.corpus.kinds

    @property
    def follows_instructions(self) -> bool:
        """A model from elsewhere with a chat template; the built-in one has a template and has seen no conversation."""
        return self.config.model.name is not None and bool(self.backend.tokenizer.chat_template)

    def has_room(self, prompt: Prompt, reference: str) -> bool:
        """Whether the context holds a prompt that is a text, and the reference answer behind it."""
        assert isinstance(prompt, str)
        return self.backend.count_tokens(prompt + reference) < self.backend.context_window


@dataclass(frozen=True)
class Study:
    """What came of one."""

    sections: Sequence[Section]
    figures: dict[str, Any] = field(default_factory=dict)
    """Flat, for `summary.json`."""


class NotApplicableError(UserError):
    """A study has nothing to ask this model or corpus. Its text says why, for the report."""
