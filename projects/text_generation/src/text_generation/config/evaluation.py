"""How a model is measured."""

from dataclasses import dataclass
from typing import Literal, get_args

StudyName = Literal["templates", "search", "voting", "injection", "json", "python", "code", "writing", "alignment"]

DefenceName = Literal[
    "none", "delimiting", "datamarking", "encoding", "hierarchy", "reminder", "detector", "output_check", "layered"
]


@dataclass(kw_only=True, frozen=True)
class EvaluationConfig:
    """What `run` measures, and on how much."""

    documents: int = 150
    """Held-out documents of each kind on which bits per byte are measured, at most."""

    stories: int = 60
    """Held-out headers whose story is generated, to see whether it does what was asked."""

    prompts: int = 6
    """Prompts on which decoding strategies are compared."""

    samples: int = 4
    """Answers to each prompt where chance has a part."""

    max_new_tokens: int = 64
    """Tokens of each answer in the comparison of strategies."""

    batch_size: int = 16
    """Windows or prompts a forward pass."""

    studies: tuple[StudyName, ...] = get_args(StudyName)
    """What is tried beside decoding. templates: which prompt makes a reference most probable; search:
    a search for a better one; voting: self-consistency; injection: attacks and defences; json, python: constrained
    output; code: pass@k in the sandbox; writing: the writing assistant; alignment: fine-tuning and DPO, with obedience
    before and after."""

    cases: int = 32
    """Prompts or cases of each of these studies, at most."""

    votes: int = 5
    """Samples that vote on a case."""

    problems: int = 22
    """Programming problems to solve, at most; `samples` answers to each."""

    defences: tuple[DefenceName, ...] = get_args(DefenceName)
    """Defences of the injection study, each on the cases that fit into the context under it and without it. Those that
    lengthen the prompt so much that fewer than two fit are left out."""

    conversations: int = 900
    """Requests with stories that fine-tuning shows in the study of alignment."""

    pairs: int = 192
    """Preferences that DPO shows in it."""

    def __post_init__(self) -> None:
        for name in ("documents", "stories", "prompts", "samples", "cases", "votes"):
            if getattr(self, name) < 2:
                raise ValueError(f"--evaluation.{name} {getattr(self, name)} must be at least 2")
        for name in ("max_new_tokens", "batch_size", "problems"):
            if getattr(self, name) < 1:
                raise ValueError(f"--evaluation.{name} {getattr(self, name)} must be at least 1")
        for name in ("conversations", "pairs"):
            if getattr(self, name) < 4:
                raise ValueError(f"--evaluation.{name} {getattr(self, name)} must be at least 4")
        if not self.defences:
            raise ValueError("--evaluation.defences is empty: name one, such as none")
