"""The subcommands `prompts`, `ab` and `inject`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from roadmap_shared.errors import UserError
from roadmap_shared.progress import progress
from roadmap_shared.report import Report, render
from roadmap_shared.runs import Run, start_run
from text_generation.backends.types import Backend, BackendError, Prompt
from text_generation.config.decoding import DecodingConfig
from text_generation.config.prompting import ABConfig, InjectConfig, PromptsConfig
from text_generation.prompting.ab_test import compare_templates
from text_generation.prompting.answers import SCORERS
from text_generation.prompting.call_log import LoggedBackend
from text_generation.prompting.cases import SENTIMENT_CASES, read_cases, rejected_in_words
from text_generation.prompting.injection import LabResult, prompt_of, run_lab
from text_generation.prompting.injection_cases import BUILT_IN, InjectionCase, read_injections, secret_for
from text_generation.prompting.injection_defences import Defence, built_in_defences
from text_generation.prompting.injection_detector import fit_detector
from text_generation.prompting.sections import ab_section, injection_section
from text_generation.prompting.summaries import ab_summary, injection_summary
from text_generation.prompting.template_files import TemplateLibrary
from text_generation.terminal_text import harmless, shown
from text_generation.text_generator import open_backend

PROJECT = "text_generation"


def run_prompts(config: PromptsConfig) -> None:
    """`prompts list|show|render`."""
    library = TemplateLibrary(config.folders)
    if config.action == "list":
        width = max(map(len, library.names))
        for name in library.names:
            template = library.get(name)
            print(shown(f"{name:<{width}}  {template.version}  {template.description}"))
        return
    assert config.template is not None
    if config.action == "show":
        print(shown(library.source_of(config.template)), end="")
        return
    template = library.get(config.template)
    print(shown(as_text(template.render(dict(text.split("=", 1) for text in config.values)))))


def run_ab(config: ABConfig, backend: Backend | None = None) -> dict[str, Any]:
    """`ab`: print and report how the templates compare. `backend`: instead of the one that the settings name."""
    library = TemplateLibrary(config.folders)
    templates = [library.get(name) for name in config.templates]
    cases, rejects = read_cases(config.case_path or SENTIMENT_CASES)
    if rejects:
        print(harmless(rejected_in_words(rejects, len(cases))))
    with start_run(config, project=PROJECT, command="ab") as run, asked(config, backend, run, len(cases)) as logged:
        result = compare_templates(
            logged,
            templates,
            cases,
            config.decoding,
            scorer=None if config.scorer == "none" else SCORERS[config.scorer],
            likelihood=config.likelihood,
            seed=run.seed,
        )
        for comparison in result.comparisons:
            print(shown(comparison.in_words()))
        report = Report(
            title="Templates compared",
            project=PROJECT,
            command="text-generation ab",
            sections=[ab_section(result, rejected_in_words(rejects, len(cases)))],
            facts={"model": logged.name, "cases": len(cases), "seed": run.seed},
        )
        return run.finish(ab_summary(result), render(report))


def run_inject(config: InjectConfig, backend: Backend | None = None) -> dict[str, Any]:
    """`inject`: print and report attack success and false refusals of every defence."""
    cases, rejects = read_injections(config.case_path or BUILT_IN)
    if rejects:
        print(harmless(rejected_in_words(rejects, len(cases))))
    detector = fit_detector(cases)
    known = built_in_defences(detector)
    defences = [known[name] for name in config.defences]
    with (
        start_run(config, project=PROJECT, command="inject") as run,
        asked(config, backend, run, len(cases)) as logged,
    ):
        fits = room_for_answers(logged, config.decoding, run.seed)
        results = [
            run_lab(logged, cases, [defence], config.decoding, seed=run.seed, fits=fits)
            for defence in progress(defences, "attacking", "defence")
        ]
        result = LabResult(
            tuple(one for of in results for one in of.results),
            logged.name,
            results[0].secret,
            tuple(name for of in results for name in of.left_out),
        )
        if remark := left_out_in_words(result, cases, config.decoding, logged.context_window):
            print(remark)
        if not result.results:
            raise UserError(f"nothing is left to try. Take a model with a longer context. {remark}")
        for of in result.results:
            print(of.in_words())
        section = injection_section(result, detector)
        report = Report(
            title="Injection lab",
            project=PROJECT,
            command="text-generation inject",
            sections=[section],
            facts={"model": logged.name, "cases": len(cases), "seed": run.seed},
        )
        return run.finish(injection_summary(result), render(report))


def room_for_answers(backend: Backend, decoding: DecodingConfig, seed: int) -> Callable[[InjectionCase, Defence], bool]:
    """Tells whether a case's prompt under a defence leaves room in the context for `decoding.max_new_tokens`; where
    that is None, for a single token."""
    room, secret = backend.context_window - (decoding.max_new_tokens or 1), secret_for(seed)
    return lambda case, defence: backend.count_tokens(prompt_of(case, defence, secret, seed).messages()) <= room


def left_out_in_words(
    result: LabResult, cases: Sequence[InjectionCase], decoding: DecodingConfig, context_window: int
) -> str:
    """How many cases each defence was not tried on, and why; "" where all were."""
    tried = {of.defence.name: len(of.outcomes) for of in result.results} | dict.fromkeys(result.left_out, 0)
    left_out = [f"{name} {len(cases) - n}" for name, n in tried.items() if n < len(cases)]
    if not left_out:
        return ""
    return (
        f"Left out of {len(cases)} cases, as prompt and {decoding.max_new_tokens or 1} tokens of an answer do not fit "
        f"into the context of {context_window}: {', '.join(left_out)}."
    )


@contextmanager
def asked(config: ABConfig | InjectConfig, backend: Backend | None, run: Run, n_cases: int) -> Iterator[LoggedBackend]:
    """The model that the settings name, or the given one, with a log; a server that fails for good is a user's line."""
    model = open_backend(config.backend) if backend is None else backend
    log = config.log or run.folder / "answers.jsonl"
    logged = LoggedBackend(model, log)
    # A run with a metric is kept when it fails, and with it the answers that were paid for.
    run.log(0, cases=n_cases)
    try:
        yield logged
    except BackendError as error:
        raise UserError(f"{error}. The answers so far are kept: repeat it with --log {log} to go on.") from error
    finally:
        close = getattr(model, "close", None)
        if backend is None and close is not None:
            close()


def as_text(prompt: Prompt) -> str:
    """A prompt as a reader sees it; turns of a conversation under their roles."""
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(f"[{message.role}]\n{message.content}" for message in prompt)
