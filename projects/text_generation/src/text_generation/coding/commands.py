"""`text-generation code` and `text-generation pass-at-k`."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from roadmap_shared.errors import UserError
from roadmap_shared.metrics import Interval
from roadmap_shared.report import KeyFigure, KeyFigures, Report, Sample, Section, Table, Text, render
from roadmap_shared.runs import start_run
from text_generation.code_generator import CodeGenerator, findings_text
from text_generation.coding.evaluation import JudgedSample, Scores, judge_problems, score
from text_generation.coding.problems import ProblemSet, built_in_problems, load_problems
from text_generation.coding.prompts import CodeRequest
from text_generation.coding.review import review_facts
from text_generation.coding.sandbox import Layer, Sandbox
from text_generation.coding.verifier import Verifier
from text_generation.config.coding import CodeConfig, PassAtKConfig, ProblemsConfig
from text_generation.terminal_text import shown, told
from text_generation.text_generator import open_generator

_SHOWN_SAMPLES = 6


def run_code(config: CodeConfig) -> None:
    """Do what `--task` says and print it.

    Raises:
        UserError: a file cannot be read, the model does not answer, or the sandbox offers too little protection.
    """
    if config.task == "check":
        print(layers_text(Sandbox(config.sandbox).check()))
        return
    source = _read(config.file) if config.file else ""
    if config.task == "review" and not config.prose:  # needs no model
        print(shown(findings_text(review_facts(source))))
        return
    with open_generator(config.backend) as generator:
        verifier = Verifier(Sandbox(config.sandbox))
        coder = CodeGenerator(generator, style=config.style, decoding=config.decoding, verifier=verifier)
        print(shown(_answer(coder, config, source)))


def run_pass_at_k(config: PassAtKConfig) -> dict[str, Any]:
    """Solve the problems, judge the answers, and report pass@k.

    Raises:
        UserError: the problems cannot be read, the model does not answer, or the sandbox offers too little protection.
    """
    with start_run(config, project="text_generation", command="pass-at-k") as run:
        problems = problems_of(config.data)
        for line in told([f"{problems.name}:{rejected.line}: {rejected.reason}" for rejected in problems.rejected]):
            print(line)
        verifier = Verifier(Sandbox(config.sandbox))
        with open_generator(config.backend) as generator:
            samples = judge_problems(
                problems.problems,
                CodeGenerator(generator, style=config.style, decoding=config.decoding, verifier=verifier),
                verifier,
                run.folder / "samples.jsonl",
                n=config.samples,
                batch_size=config.backend.batch_size,
                workers=config.workers,
                seed=config.run.seed,
            )
        scores = score(samples, config.k, seed=config.run.seed)
        return run.finish(summary(scores, problems), render(report(config, problems, samples, scores)))


def problems_of(config: ProblemsConfig) -> ProblemSet:
    """The problems that the settings name.

    Raises:
        UserError: as for `load_problems`.
    """
    problems = built_in_problems() if config.path is None else load_problems(config.path)
    return replace(problems, problems=problems.problems[: config.limit])


def layers_text(layers: tuple[Layer, ...]) -> str:
    """The sandbox's layers for reading, a line each."""
    marks = {True: "holds", False: "does not hold"}
    return "\n".join(
        f"{layer.name}: {marks[layer.holds]}{f' ({layer.detail})' if layer.detail else ''}" for layer in layers
    )


def summary(scores: Scores, problems: ProblemSet) -> dict[str, Any]:
    """The final figures under flat keys, the headline first."""
    intervals = {f"pass_at_{k}": interval for k, interval in scores.pass_at.items()}
    intervals["syntax_valid"] = scores.syntax_valid
    figures: dict[str, Any] = {}
    for name, interval in intervals.items():
        figures |= {name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}
    counts = {"n_problems": scores.n_problems, "n_samples": scores.n_samples, "n_rejected": len(problems.rejected)}
    return figures | counts | {f"status_{name}": count for name, count in scores.statuses.items()}


def report(config: PassAtKConfig, problems: ProblemSet, samples: list[JudgedSample], scores: Scores) -> Report:
    """The page on a run."""
    return Report(
        title="Programming problems",
        project="text_generation",
        command="text-generation pass-at-k",
        lead=[KeyFigures(_key_figures(scores))],
        sections=[
            Section(
                "What became of the samples",
                [
                    Text(
                        f"{scores.n_problems} problems ({problems.name}), {scores.n_samples} samples of each from "
                        f"{config.backend.model}. Each was executed in a sandbox with {config.sandbox.cpu_seconds:g} s "
                        "of CPU time; the tests ran in another process."
                    ),
                    Table(["verdict", "samples"], [[name, count] for name, count in scores.statuses.items()]),
                ],
            ),
            Section("Samples", [Sample(_heading(one), one.code or one.answer) for one in samples[:_SHOWN_SAMPLES]]),
        ],
    )


def _key_figures(scores: Scores) -> list[KeyFigure]:
    figures: list[tuple[str, Interval]] = [(f"pass@{k}", interval) for k, interval in scores.pass_at.items()]
    return [KeyFigure(name, value) for name, value in [*figures, ("syntax-valid answers", scores.syntax_valid)]]


def _heading(sample: JudgedSample) -> str:
    return f"{sample.task_id}: {sample.status}{f' ({sample.detail})' if sample.detail else ''}"


def _answer(coder: CodeGenerator, config: CodeConfig, source: str) -> str:
    match config.task:
        case "explain":
            return coder.explain(source, config.seed)
        case "review":
            review = coder.review(source, prose=True, seed=config.seed)
            return f"{findings_text(review.facts)}\n\nThe model says:\n{review.prose}"
        case "tests":
            tests = coder.write_tests(source, config.n_tests, config.seed)
            lines = [test.source if test.passed else f"# fails: {test.verdict.detail}\n{test.source}" for test in tests]
            return "\n".join(lines) or "# the model wrote no test that calls the code"
        case _:
            request = CodeRequest(config.description.strip(), source, config.name)
            code = coder.generate(request, config.seed)
            return code.code.rstrip() or f"The answer holds no code:\n{code.answer}"


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        raise UserError(f"--file {path} is not UTF-8 text") from None
    except OSError as error:
        raise UserError(f"--file {path}: {error.strerror}") from None
