"""`text-generation microscope`: a page on one generation, token by token."""

import math
from dataclasses import replace
from typing import Any

from roadmap_shared.files import atomic_write
from roadmap_shared.runs import start_run
from text_generation.backends.hf import HuggingFaceBackend
from text_generation.backends.types import Message, Prompt
from text_generation.config.decoding import DecodingConfig
from text_generation.config.measuring import MicroscopeConfig
from text_generation.decoding.microscope import Microscope, look
from text_generation.decoding.microscope_page import render_page
from text_generation.run_layout import MICROSCOPE, PROJECT
from text_generation.terminal_text import harmless
from text_generation.text_generator import open_backend


def run_microscope(config: MicroscopeConfig) -> dict[str, Any]:
    """Generate one answer, write the page on it into a run folder, and print the answer and the page's path.

    Raises:
        UserError: the model cannot be read, or the prompt leaves no room for an answer.
    """
    prompt: Prompt = [Message("user", config.prompt)] if config.chat else config.prompt
    with start_run(config, project=PROJECT, command="microscope") as run:
        backend = open_backend(config.backend)
        assert isinstance(backend, HuggingFaceBackend)  # the config refuses the others
        seen = look(
            backend,
            prompt,
            _fitting(backend, prompt, config.decoding),
            seed=run.seed,
            candidates=config.candidates,
            beam_tokens=config.beam_tokens,
        )
        page = run.folder / MICROSCOPE
        atomic_write(page, render_page(seen))
        print(harmless(seen.generation.text))
        complete = run.finish(summary(seen), None)
        print(f"microscope: {page}")
        return complete


def summary(seen: Microscope) -> dict[str, Any]:
    """The figures of `summary.json`, flat; the means are over the answer's tokens and the one that ended it."""
    generation, n = seen.generation, len(seen.steps)
    tokens = generation.new_tokens
    return {
        "perplexity": math.exp(-(generation.logprob or 0.0) / tokens) if tokens else math.nan,
        "mean_entropy_bits": math.fsum(step.entropy for step in seen.steps) / n if n else math.nan,
        "share_most_probable": sum(step.rank == 1 for step in seen.steps) / n if n else math.nan,
        "n_tokens": tokens,
        "finish_reason": generation.finish_reason,
        "model": seen.model,
        "text": generation.text,
    }


def _fitting(backend: HuggingFaceBackend, prompt: Prompt, decoding: DecodingConfig) -> DecodingConfig:
    """The settings with a number of tokens in place of None. A prompt without room is left to the back end to tell."""
    tokens, room = decoding.max_new_tokens, backend.context_window - backend.count_tokens(prompt)
    if tokens is None:
        if room < 1:
            return decoding
        tokens = min(decoding.default_new_tokens, room)
    # What took no part is set back, so that the page does not list it.
    return replace(decoding, max_new_tokens=tokens, default_new_tokens=DecodingConfig().default_new_tokens)
