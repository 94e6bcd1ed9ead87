"""`text-generation run`: train a small language model or take one, find out what it knows and how it writes, report.

`run` below is the whole story; each of its lines is one module.
"""

from collections.abc import Sequence
from typing import Any

from roadmap_shared.errors import UserError
from roadmap_shared.files import atomic_write
from roadmap_shared.runs import start_run
from text_generation.backends.hf import HuggingFaceBackend
from text_generation.backends.types import Prompt
from text_generation.config import DecodingConfig, EvaluationConfig, GenerationConfig
from text_generation.corpora.loaders import load_corpus
from text_generation.corpora.types import Corpus
from text_generation.decoding.microscope import look
from text_generation.decoding.microscope_page import render_page
from text_generation.decoding.strategies import Checker, StrategyResult, answer_once, compare_strategies, sweep
from text_generation.evaluation.language import measure_language
from text_generation.evaluation.obedience import (
    CHECKS,
    Obedience,
    held_out_fields,
    measure_obedience,
    share_obeyed,
)
from text_generation.prompts_of_corpus import prompts_of
from text_generation.report import Findings, Shown, generation_report
from text_generation.run_layout import MICROSCOPE, PROJECT, STORIES
from text_generation.studies.functions import function_beginnings
from text_generation.studies.running import run_studies
from text_generation.studies.types import Bench
from text_generation.training.trained_model import CHANGE_NO_WEIGHT, trained_model

RESUMABLE_CHANGES = (
    *(f"trainer.{name}" for name in CHANGE_NO_WEIGHT),
    *(f"evaluation.{name}" for name in EvaluationConfig.__dataclass_fields__),
)
"""Settings that may differ when a run is resumed: they change no weight."""

MICROSCOPE_TOKENS = 40


def run(config: GenerationConfig) -> dict[str, Any]:
    """Train or load, measure, compare, look closely and report; returns the summary."""
    measured = config.evaluation
    with start_run(config, project=PROJECT, command="run", resumable_changes=RESUMABLE_CHANGES) as run:
        named = None if config.model.name is None else opened(config.model.name, config)
        corpus = load_corpus(config.data, print)
        source = trained_model(config, corpus, run, print)
        backend = named or opened(source, config)
        language = measure_language(backend, corpus, measured.documents, measured.batch_size)
        obedience = story_obedience(backend, corpus, measured)
        prompts, checker = prompts_of(corpus, measured.prompts), story_checker(corpus)
        room = room_for_answers(backend, prompts)
        asked: dict[str, Any] = {"samples": measured.samples, "seed": run.seed}
        asked["max_new_tokens"] = min(measured.max_new_tokens, room)
        strategies = compare_strategies(backend, prompts, checker=checker, **asked)
        curves = sweep(backend, prompts, checker=checker, **asked)
        microscope = look(backend, prompts[0], looked_at(room), seed=run.seed)
        atomic_write(run.folder / MICROSCOPE, render_page(microscope))
        if obedience is not None:
            atomic_write(run.folder / STORIES, obedience.json_lines())
        shown = shown_answers(backend, corpus, prompts, strategies, run.seed)
        studies = run_studies(Bench(config, run, corpus, source, backend, obedience))
        found = Findings(config, run, corpus, backend, language, obedience, prompts, strategies, curves, shown, studies)
        return run.finish(summary_figures(found), generation_report(found))


def opened(source: str, config: GenerationConfig) -> HuggingFaceBackend:
    """The model of a folder or hub id. A named one is opened before the corpus is written: a wrong name costs nothing.

    Raises:
        UserError: as for `load_causal_lm`.
    """
    return HuggingFaceBackend.load(
        source,
        device=config.trainer.device,
        batch_size=config.evaluation.batch_size,
        flag="--model.name",
        device_flag="--trainer.device",
    )


def room_for_answers(backend: HuggingFaceBackend, prompts: Sequence[Prompt]) -> int:
    """Tokens that the context leaves for the answer to each of the prompts.

    Raises:
        UserError: a prompt fills the context.
    """
    longest = max(backend.count_tokens(prompt) for prompt in prompts)
    if longest >= backend.context_window:
        raise UserError(
            f"a prompt from the held-out documents has {longest} tokens, which leaves no room in a context of "
            f"{backend.context_window}: raise --model.context"
        )
    return backend.context_window - longest


def looked_at(room: int) -> DecodingConfig:
    """How the answer under the microscope is drawn."""
    return DecodingConfig(temperature=0.7, top_k=50, top_p=0.9, max_new_tokens=min(MICROSCOPE_TOKENS, room))


def shown_answers(
    backend: HuggingFaceBackend,
    corpus: Corpus,
    prompts: Sequence[Prompt],
    strategies: Sequence[StrategyResult],
    seed: int,
) -> list[Shown]:
    """The first prompt with the first answer of each strategy; where the corpus has functions beside stories, also the
    beginning of a function, answered by each."""
    shown = [Shown(str(prompts[0]), [result.texts[0] for result in strategies])]
    if {"story", "function"} <= set(corpus.kinds):
        room = backend.context_window - max(result.decoding.most_new_tokens for result in strategies)
        beginnings = function_beginnings(corpus, len(corpus.validation))
        if beginning := next((text for text in beginnings if backend.count_tokens(text) <= room), None):
            shown.append(Shown(beginning, answer_once(backend, beginning, strategies, seed)))
    return shown


def story_obedience(backend: HuggingFaceBackend, corpus: Corpus, config: EvaluationConfig) -> Obedience | None:
    """None where the corpus has no stories with headers."""
    fields = held_out_fields(corpus, config.stories)
    return measure_obedience(backend, fields) if fields else None


def story_checker(corpus: Corpus) -> Checker | None:
    """What judges an answer to the prompts of this corpus, if anything can."""
    return share_obeyed if "story" in corpus.kinds else None


def summary_figures(found: Findings) -> dict[str, Any]:
    """The figures of `summary.json`, flat; the headline is bits per byte of functions where the corpus has them."""
    headline = next((score for score in found.language if score.kind == "function"), found.language[0])
    figures: dict[str, Any] = {
        "bits_per_byte": headline.model.estimate,
        "bits_per_byte_low": headline.model.low,
        "bits_per_byte_high": headline.model.high,
        "baseline_ngram": headline.ngram,
        "baseline_gzip": headline.gzip,
    }
    for score in found.language:
        figures |= {f"bits_per_byte_{score.kind}": score.model.estimate, f"baseline_ngram_{score.kind}": score.ngram}
        figures |= {f"baseline_gzip_{score.kind}": score.gzip, f"baseline_xz_{score.kind}": score.xz}
    if found.obedience is not None:
        for check in CHECKS:
            rate = found.obedience.rate(check)
            figures |= {
                f"{check}_obeyed": rate.estimate,
                f"{check}_obeyed_low": rate.low,
                f"{check}_obeyed_high": rate.high,
            }
    for result in found.strategies:
        figures[f"{result.name}_tokens_per_second"] = result.tokens_per_second
    for finished in found.studies:
        figures |= finished.study.figures if finished.study else {}
        figures[f"seconds_{finished.name}"] = round(finished.seconds, 1)
    return figures
