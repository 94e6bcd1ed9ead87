"""Programming problems: how many a model solves, in the sandbox."""

from typing import Any

from roadmap_shared.report import Callout, Sample, Section, Table
from text_generation.code_generator import CodeGenerator
from text_generation.coding.evaluation import JudgedSample, Scores, judge_problems, score
from text_generation.coding.problems import built_in_problems
from text_generation.coding.prompts import CodeRequest, function_prompt
from text_generation.coding.sandbox import Sandbox
from text_generation.coding.verifier import Verifier
from text_generation.config.coding import CodeStyle, SandboxConfig
from text_generation.config.decoding import DecodingConfig
from text_generation.studies.types import Bench, NotApplicableError, Study
from text_generation.text_generator import TextGenerator

CODE_TOKENS = 96
TEMPERATURE = 0.6
SHOWN = 2


def code(bench: Bench) -> Study:
    """pass@k on the built-in problems: `samples` answers to each, executed against its tests."""
    sandbox = Sandbox(SandboxConfig())
    weak = [layer.name for layer in sandbox.check() if not layer.holds]
    if weak:
        raise NotApplicableError(f"the sandbox lacks {', '.join(weak)} on this system")
    style: CodeStyle = "chat" if bench.follows_instructions else "completion"
    room = bench.backend.context_window - CODE_TOKENS
    count = bench.backend.count_tokens
    fitting = [p for p in built_in_problems().problems if count(function_prompt(CodeRequest.of(p), style)) <= room]
    problems = fitting[: bench.sizes.problems]
    if not problems:
        raise NotApplicableError(f"no problem leaves {CODE_TOKENS} tokens of a context of {room + CODE_TOKENS}")
    verifier = Verifier(sandbox)
    decoding = DecodingConfig(temperature=TEMPERATURE, top_p=0.95, max_new_tokens=CODE_TOKENS)
    coder = CodeGenerator(TextGenerator(bench.backend), style=style, decoding=decoding, verifier=verifier)
    n = bench.sizes.samples
    path = bench.run.folder / "code_samples.jsonl"
    samples = judge_problems(
        problems, coder, verifier, path, n=n, batch_size=bench.sizes.batch_size, seed=bench.run.seed
    )
    scores = score(samples, sorted({1, n}), seed=bench.run.seed)
    return Study([code_section(samples, scores)], code_figures(scores))


def code_section(samples: list[JudgedSample], scores: Scores) -> Section:
    """pass@k, the verdicts, and some answers."""
    rows: list[list[Any]] = [[f"pass@{k}", interval] for k, interval in scores.pass_at.items()]
    rows.append(["valid Python as it stands", scores.syntax_valid])
    verdicts = [[name, number] for name, number in scores.statuses.items()]
    blocks = [
        Table(
            ["", "share"],
            rows,
            caption=f"{scores.n_samples} samples of each of {scores.n_problems} problems at temperature {TEMPERATURE}; "
            "95 % intervals over the problems (Wilson's where each scores 0 or 1, else bootstrap).",
        ),
        Table(["verdict", "samples"], verdicts, caption="What became of the samples in the sandbox."),
        *(Sample(one.code or one.answer, label=f"{one.task_id}: {one.status}") for one in samples[:SHOWN]),
    ]
    if not any(one.passed for one in samples):
        blocks.append(
            Callout(
                "No sample passes. Solving problems takes models of hundreds of millions of parameters and more (Chen "
                "et al. 2021, table 1: pass@1 of 2 % with 12 million, 13 % with 300 million): give one by "
                "`--model.name`, or a server by `text-generation pass-at-k --backend.kind openai`."
            )
        )
    intro = (
        "Functions are written from their signature and docstring and executed against tests in a sandbox. pass@k is "
        "the probability that one of k samples passes (Chen et al. 2021)."
    )
    return Section("Does its code run?", blocks, intro=intro)


def code_figures(scores: Scores) -> dict[str, Any]:
    """Flat, for the summary."""
    figures: dict[str, Any] = {f"pass_at_{k}": interval.estimate for k, interval in scores.pass_at.items()}
    return figures | {"code_syntax_valid": scores.syntax_valid.estimate}
