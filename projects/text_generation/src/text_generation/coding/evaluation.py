"""Samples of a model for a set of problems, their verdicts, and pass@k over them. What was interrupted goes on."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import repeat
from pathlib import Path

from roadmap_shared.errors import UserError
from roadmap_shared.metrics import Interval, share_interval
from roadmap_shared.progress import progress
from text_generation.code_generator import CodeGenerator, GeneratedCode
from text_generation.coding.pass_at_k import pass_at_k_interval
from text_generation.coding.problems import Problem
from text_generation.coding.prompts import CodeRequest
from text_generation.coding.verifier import Verdict, Verifier

NO_ROOM = "no_room"
"""Status of a problem that leaves the model no room for an answer: not solved, as any other that it cannot solve."""

_NO_CODE = Verdict("syntax", "the answer holds no code", 0, 0, 0.0)


@dataclass(frozen=True)
class JudgedSample:
    """One line of the file of samples."""

    task_id: str
    sample: int
    """Number among the samples of its problem, from 0."""

    answer: str
    code: str
    syntax_valid: bool
    status: str
    detail: str
    n_passed: int
    n_tests: int
    cpu_seconds: float

    @property
    def passed(self) -> bool:
        return self.status == "passed"


@dataclass(frozen=True)
class Scores:
    """What a model achieved on a set of problems."""

    n_problems: int
    n_samples: int
    """Of each problem."""

    pass_at: dict[int, Interval]
    """pass@k by k, with the 95 % interval over problems (`pass_at_k_interval`)."""

    syntax_valid: Interval
    """Share of a problem's answers that are valid Python as they stand, on average over problems (`share_interval`)."""

    statuses: dict[str, int]
    """How many samples came to what, the most frequent first."""


def judge_problems(
    problems: Sequence[Problem],
    generator: CodeGenerator,
    verifier: Verifier,
    samples: Path,
    *,
    n: int = 1,
    batch_size: int = 16,
    workers: int = 2,
    seed: int = 0,
) -> list[JudgedSample]:
    """Generate n samples of each problem and judge them, one line each in `samples`, in the order of the problems.

    Problems are worked on in groups of about `batch_size` prompts with a seed of their own, so a run that was
    interrupted and goes on gives the same samples as one that was not. A problem that leaves the model no room for an
    answer counts as unsolved (`NO_ROOM`).

    Args:
        problems: what to solve.
        generator: what writes the code.
        verifier: what judges it.
        samples: a .jsonl file; the complete groups in it are kept, the rest is done.
        n: samples of each problem.
        batch_size: prompts that the model answers together.
        workers: candidates that are executed at the same time.
        seed: of the first group; each further one has the next.

    Raises:
        UserError: the model does not answer, the sandbox offers too little protection, or `samples` belongs to other
            problems.
    """
    groups = list(_groups(problems, max(1, batch_size // n)))
    done = _kept(samples, [len(group) * n for group in groups], [problem.task_id for problem in problems], n)
    first = next((i for i in range(len(groups) + 1) if sum(map(len, groups[:i])) * n == len(done)), 0)
    with (
        samples.open("a", encoding="utf-8") as file,
        ThreadPoolExecutor(workers) as pool,
        progress(len(problems), "problems", "problem", done=sum(map(len, groups[:first]))) as bar,
    ):
        for index, group in enumerate(groups[first:], start=first):
            asked = [(problem, number) for problem in group for number in range(n)]
            fits = {problem.task_id: generator.fits(CodeRequest.of(problem)) for problem in group}
            requests = [CodeRequest.of(problem) for problem, _ in asked if fits[problem.task_id]]
            written = iter(generator.generate_many(requests, seed + index))
            answers = [next(written) if fits[problem.task_id] else None for problem, _ in asked]
            judged = list(pool.map(_judged, *zip(*asked, strict=True), answers, repeat(verifier)))
            file.write("".join(f"{json.dumps(asdict(one), ensure_ascii=True)}\n" for one in judged))
            file.flush()
            done += judged
            bar.update(len(group))
    return done


def score(samples: Sequence[JudgedSample], ks: Sequence[int], *, seed: int = 0) -> Scores:
    """pass@k and the rest over the samples of all problems.

    Raises:
        ValueError: there is no sample, or a problem has fewer than k.
    """
    numbers = Counter(one.task_id for one in samples)
    right = Counter(one.task_id for one in samples if one.passed)
    valid = Counter(one.task_id for one in samples if one.syntax_valid)
    counts = [(n, right[task_id]) for task_id, n in numbers.items()]
    return Scores(
        n_problems=len(numbers),
        n_samples=max(numbers.values(), default=0),
        pass_at={k: pass_at_k_interval(counts, k, seed=seed) for k in ks},
        syntax_valid=share_interval([valid[task_id] / n for task_id, n in numbers.items()], seed=seed),
        statuses=dict(Counter(one.status for one in samples).most_common()),
    )


def _groups(problems: Sequence[Problem], size: int) -> Iterator[Sequence[Problem]]:
    for start in range(0, len(problems), size):
        yield problems[start : start + size]


def _judged(problem: Problem, number: int, written: GeneratedCode | None, verifier: Verifier) -> JudgedSample:
    if written is None:
        detail = "the problem fills the model's context"
        return JudgedSample(problem.task_id, number, "", "", False, NO_ROOM, detail, 0, len(problem.tests), 0.0)
    verdict = verifier.verify(problem.task(written.code)) if written.code else _NO_CODE
    return JudgedSample(
        task_id=problem.task_id,
        sample=number,
        answer=written.answer,
        code=written.code,
        syntax_valid=written.syntax_valid,
        status=verdict.status,
        detail=verdict.detail,
        n_passed=verdict.n_passed,
        n_tests=len(problem.tests),
        cpu_seconds=round(verdict.cpu_seconds, 3),
    )


def _kept(path: Path, group_sizes: list[int], task_ids: list[str], n: int) -> list[JudgedSample]:
    """The samples of complete groups in the file, from which everything after them is cut off."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]  # a last line without its end was being written
    samples = [_sample(path, number, line) for number, line in enumerate(lines, start=1)]
    expected = [(task_id, number) for task_id in task_ids for number in range(n)]
    for line, (sample, place) in enumerate(zip(samples, expected, strict=False), start=1):
        if (sample.task_id, sample.sample) != place:
            raise UserError(
                f"{path} line {line} is sample {sample.sample} of {sample.task_id}, where sample {place[1]} of "
                f"{place[0]} is expected: the file belongs to other problems. Write to another one."
            )
    complete = 0
    for size in group_sizes:
        if complete + size > len(samples):
            break
        complete += size
    with path.open("r+b") as file:
        file.truncate(sum(len(line) + 1 for line in lines[:complete]))
    return samples[:complete]


def _sample(path: Path, number: int, line: bytes) -> JudgedSample:
    try:
        return JudgedSample(**json.loads(line))
    except (ValueError, TypeError):
        raise UserError(f"{path} line {number} is no sample. Remove it and what follows, or start anew.") from None
