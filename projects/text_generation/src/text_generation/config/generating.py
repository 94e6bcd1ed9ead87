"""How one prompt is answered, on the command line."""

from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import Positional

from text_generation.config.backend import BackendConfig
from text_generation.config.decoding import DecodingConfig

GENERATE_DECODING = DecodingConfig(top_p=0.9, max_new_tokens=None, default_new_tokens=512)
"""Nucleus sampling; 512 tokens, or what the context has room for."""


def check_prompt(prompt: str, example: str) -> None:
    """Raises:
    ValueError: the prompt is empty, or was typed in a terminal that is not set to UTF-8.
    """
    if not prompt:
        raise ValueError(f"the prompt is empty: say what the model goes on with, as in {example}")
    if not prompt.isascii() and any("\ud800" <= sign <= "\udfff" for sign in prompt):
        raise ValueError("the prompt is not UTF-8 text: type it again, in a terminal that is set to UTF-8")


@dataclass(kw_only=True, frozen=True)
class GenerateConfig:
    """`generate`: the answer to one prompt, on standard output."""

    prompt: Positional[str]
    """What the model goes on with, in quotes."""

    chat: bool = False
    """Ask it as the user's turn of a conversation, in the model's chat template, instead of as a text to go on with."""

    schema: Path | None = None
    """File with a JSON Schema: the answer is JSON that fits it. None: --decoding.json_schema, if anything."""

    seed: int = 0
    """Of the sampling."""

    backend: BackendConfig = field(default_factory=BackendConfig)
    """Model."""

    decoding: DecodingConfig = GENERATE_DECODING
    """How it answers."""

    def __post_init__(self) -> None:
        check_prompt(self.prompt, 'generate "Once upon a time"')
        if self.schema is not None and self.decoding.is_constrained:
            raise ValueError("--schema goes without --decoding.json_schema and --decoding.regex: leave one out")
