"""The decoding microscope: one generation, token by token, and what each way of choosing would have kept and dropped.

`look` gathers the data; `microscope_page.render_page` shows it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from text_generation.backends.answers import Answer
from text_generation.backends.hf import HuggingFaceBackend
from text_generation.backends.types import Generation, Prompt
from text_generation.config.decoding import DecodingConfig
from text_generation.decoding.beam_trace import BeamTrace, trace_beam_search
from text_generation.decoding.logits import penalise_repetition, shaped_logits


@dataclass(frozen=True)
class Candidate:
    """A token that could have come."""

    token: str
    probability: float
    """Under the model itself."""

    tempered: float
    """After penalties and temperature."""

    kept: tuple[bool, ...]
    """By each filter."""

    chosen: bool


@dataclass(frozen=True)
class Step:
    """The choice of one token."""

    token: str
    probability: float
    tempered: float
    rank: int
    """1: it was the most probable."""

    entropy: float
    """Of the model's own distribution, in bits: 0 where it is sure, log2 of the vocabulary where it knows nothing."""

    kept: tuple[int, ...]
    """How many tokens each filter keeps."""

    mass: tuple[float, ...]
    """Their probability after penalties and temperature."""

    chosen_kept: tuple[bool, ...]
    """Whether the token that came is among them."""

    candidates: tuple[Candidate, ...]
    """The most probable ones, best first, and the token that came where it is not among them."""


@dataclass(frozen=True)
class Microscope:
    """All that was seen of one generation."""

    model: str
    prompt: str
    decoding: DecodingConfig
    seed: int
    generation: Generation
    filters: tuple[str, ...]
    """What each truncation is called: "top-k 50"."""

    steps: tuple[Step, ...]
    """One for each token of the answer, and one for the token that ended it."""

    beams: BeamTrace
    beam_decoding: DecodingConfig
    beam_tokens: tuple[tuple[str, ...], ...]
    """The text of each candidate's token in `beams.steps`."""

    beam_text: str


END = "⏹"
"""Stands for the token that ends an answer."""


def filters_of(decoding: DecodingConfig) -> dict[str, DecodingConfig]:
    """Each truncation alone, by its name, with the value that `decoding` sets or a usual one."""
    top_k = decoding.top_k or 50
    top_p = decoding.top_p if decoding.top_p < 1 else 0.9
    min_p = decoding.min_p or 0.1
    typical_p = decoding.typical_p if decoding.typical_p < 1 else 0.9
    return {
        f"top-k {top_k}": DecodingConfig(top_k=top_k),
        f"top-p {top_p:g}": DecodingConfig(top_p=top_p),
        f"min-p {min_p:g}": DecodingConfig(min_p=min_p),
        f"typical {typical_p:g}": DecodingConfig(typical_p=typical_p),
    }


def look(
    backend: HuggingFaceBackend,
    prompt: Prompt,
    decoding: DecodingConfig,
    *,
    seed: int = 0,
    candidates: int = 12,
    filters: Mapping[str, DecodingConfig] | None = None,
    beam_tokens: int = 12,
) -> Microscope:
    """Generate one answer and look at every choice; then search with beams from the same prompt.

    Args:
        backend: a local model.
        prompt: text or conversation.
        decoding: greedy or sampling.
        seed: of the draws.
        candidates: how many of the most probable tokens are listed at each step.
        filters: truncations to compare, by name; each is applied alone, after penalties and temperature. None:
            `filters_of(decoding)`.
        beam_tokens: new tokens of the beam search at most: its picture grows with every one.

    Raises:
        UserError: the prompt is empty or too long.
        ValueError: `decoding` is beam search, which has no single choice a token.
    """
    if decoding.strategy == "beam_search":
        raise ValueError(
            "the microscope follows one answer: use strategy greedy or sampling; beams are shown beside it"
        )
    named = filters_of(decoding) if filters is None else dict(filters)
    answer, steps = _watched(backend, prompt, decoding, seed, list(named.values()), candidates)
    beam_decoding = replace(
        decoding, strategy="beam_search", max_new_tokens=min(beam_tokens, decoding.most_new_tokens), stop=()
    )
    beams = trace_beam_search(backend.network, list(answer.prompt), beam_decoding, backend.end_tokens)
    return Microscope(
        model=backend.name,
        prompt=prompt if isinstance(prompt, str) else "\n".join(f"{turn.role}: {turn.content}" for turn in prompt),
        decoding=decoding,
        seed=seed,
        generation=answer.generation(),
        filters=tuple(named),
        steps=tuple(steps),
        beams=beams,
        beam_decoding=beam_decoding,
        beam_tokens=tuple(tuple(_shown(backend, c.token) for c in step) for step in beams.steps),
        beam_text=str(backend.tokenizer.decode(list(beams.best), skip_special_tokens=True)),
    )


def _watched(
    backend: HuggingFaceBackend,
    prompt: Prompt,
    decoding: DecodingConfig,
    seed: int,
    filters: Sequence[DecodingConfig],
    n_candidates: int,
) -> tuple[Answer, list[Step]]:
    """One answer, and each choice of a token on its way, that of the end included."""
    seen: list[Tensor] = []

    def watch(rows: Sequence[int], new_tokens: Sequence[Sequence[int]], logits: Tensor) -> Tensor:
        seen.append(logits.cpu())
        return logits

    answer = backend.trace(prompt, decoding, seed, watch)
    generation = answer.generation()
    chosen = list(answer.tokens[: generation.new_tokens])
    texts = list(generation.tokens)
    if answer.finish_reason == "stop" and len(seen) > len(answer.tokens):
        chosen.append(max(backend.end_tokens, key=lambda token: float(seen[-1][0, token])))
        texts.append(END)
    steps: list[Step] = []
    for index, (token, text) in enumerate(zip(chosen, texts, strict=True)):
        sequence = [*answer.prompt, *chosen[:index]]
        steps.append(_step(backend, seen[index], sequence, token, text, decoding, filters, n_candidates))
    return answer, steps


def _step(
    backend: HuggingFaceBackend,
    raw: Tensor,
    sequence: list[int],
    token: int,
    text: str,
    decoding: DecodingConfig,
    filters: Sequence[DecodingConfig],
    n_candidates: int,
) -> Step:
    """What there is to see of one choice. `raw` are the model's logits (1, V)."""
    log_probabilities = raw.log_softmax(dim=-1)[0]  # (V,)
    probabilities = log_probabilities.exp()
    tempered = _tempered(raw, sequence, decoding)  # (1, V)
    tempered_probabilities = tempered.softmax(dim=-1)[0]
    masks = [torch.isfinite(shaped_logits(tempered, [sequence], each)[0]) for each in filters]
    listed = probabilities.topk(min(n_candidates, len(probabilities))).indices.tolist()
    if token not in listed:
        listed.append(token)
    return Step(
        token=text,
        probability=float(probabilities[token]),
        tempered=float(tempered_probabilities[token]),
        rank=int((probabilities > probabilities[token]).sum()) + 1,
        entropy=float(-(probabilities * log_probabilities).nansum() / torch.log(torch.tensor(2.0))),
        kept=tuple(int(mask.sum()) for mask in masks),
        mass=tuple(float(tempered_probabilities[mask].sum()) for mask in masks),
        chosen_kept=tuple(bool(mask[token]) for mask in masks),
        candidates=tuple(
            Candidate(
                token=_shown(backend, other),
                probability=float(probabilities[other]),
                tempered=float(tempered_probabilities[other]),
                kept=tuple(bool(mask[other]) for mask in masks),
                chosen=other == token,
            )
            for other in listed
        ),
    )


def _tempered(raw: Tensor, sequence: list[int], decoding: DecodingConfig) -> Tensor:
    if decoding.repetition_penalty != 1:
        raw = penalise_repetition(raw, [sequence], decoding.repetition_penalty)
    return raw / decoding.temperature if decoding.strategy == "sampling" else raw


def _shown(backend: HuggingFaceBackend, token: int) -> str:
    """A token by itself as text; bytes that are no whole character by themselves as their name in the vocabulary."""
    if token in backend.end_tokens:
        return END
    text = str(backend.tokenizer.decode([token], clean_up_tokenization_spaces=False))
    if "\ufffd" in text:
        return str(backend.tokenizer.convert_ids_to_tokens(token))
    return text
