"""From a description or a docstring to a Python function: generate, explain, review, write tests.

```python
with open_generator(BackendConfig(model="Qwen/Qwen2.5-Coder-1.5B-Instruct")) as generator:
    coder = CodeGenerator(generator)
    code = coder.generate(CodeRequest("the median of a list of numbers", entry_point="median"))
    for test in coder.write_tests(code.code):
        print(test.passed, test.source)
```
"""

import ast
from collections.abc import Sequence
from dataclasses import dataclass, replace

from roadmap_shared.errors import UserError
from text_generation.backends.types import Generation, Prompt
from text_generation.coding.extraction import Extraction, complete_function, extract_code
from text_generation.coding.prompts import (
    STOP,
    CodeRequest,
    completion_start,
    explain_prompt,
    function_prompt,
    review_prompt,
    tests_prompt,
)
from text_generation.coding.review import CodeReview, Facts, review_facts
from text_generation.coding.syntax import defined_names, is_valid, parse, top_level_imports
from text_generation.coding.verifier import Task, Verdict, Verifier
from text_generation.config.coding import CODE_DECODING, CodeStyle
from text_generation.config.decoding import DecodingConfig
from text_generation.text_generator import TextGenerator


@dataclass(frozen=True)
class GeneratedCode:
    """One answer of the model, and the program in it."""

    request: CodeRequest
    answer: str
    code: str
    """A whole program, or empty where the answer holds none."""

    syntax_valid: bool
    """The answer's code parsed as it stood, without a cut, and defines the function that was asked for."""


@dataclass(frozen=True)
class WrittenTest:
    """A test that the model wrote, and what came of running it in the sandbox."""

    source: str
    verdict: Verdict

    @property
    def passed(self) -> bool:
        """The code satisfies it. Where it does not, either may be wrong."""
        return self.verdict.passed


class CodeGenerator:
    """Asks a language model for code, and trusts nothing that it answers."""

    def __init__(
        self,
        generator: TextGenerator,
        *,
        style: CodeStyle = "chat",
        decoding: DecodingConfig = CODE_DECODING,
        verifier: Verifier | None = None,
    ) -> None:
        """Args:
        generator: what answers.
        style: chat asks an instruct model; completion lets a base model go on with the text of the function.
        decoding: how it answers. In the style completion, the usual ends of a function are added to `stop`.
        verifier: what runs tests; by default one with the default sandbox.
        """
        self._generator = generator
        self._style: CodeStyle = style
        self._decoding = decoding
        self._verifier = verifier

    def fits(self, request: CodeRequest) -> bool:
        """Whether the context has room for an answer. A server decides itself: its tokens are only estimated."""
        backend = self._generator.backend
        return not backend.counts_exactly or (
            backend.count_tokens(function_prompt(request, self._style)) < backend.context_window
        )

    def generate(self, request: CodeRequest, seed: int = 0) -> GeneratedCode:
        """Write one function. Errors as for `generate_many`."""
        return self.generate_many([request], seed)[0]

    def generate_many(self, requests: Sequence[CodeRequest], seed: int = 0) -> list[GeneratedCode]:
        """Write a function for each request; the same request several times gives several samples.

        Raises:
            UserError: the model does not answer, or a request does not fit its context.
        """
        prompts = [function_prompt(request, self._style) for request in requests]
        ends = () if self._style == "chat" else STOP
        decoding = replace(self._decoding, stop=(*self._decoding.stop, *ends))
        answers = self._generator.generate_many(prompts, decoding, seed)
        return [self._generated(request, answer) for request, answer in zip(requests, answers, strict=True)]

    def explain(self, code: str, seed: int = 0) -> str:
        """What the model says that the code does."""
        return self._ask(explain_prompt(code), seed)

    def review(self, code: str, *, prose: bool = False, seed: int = 0) -> CodeReview:
        """Facts by tools and, if wanted, the model's opinion beside them.

        Raises:
            UserError: a tool is missing, or the model does not answer.
        """
        facts = review_facts(code)
        return CodeReview(facts, self._ask(review_prompt(code, findings_text(facts)), seed) if prose else None)

    def write_tests(self, code: str, n: int = 5, seed: int = 0) -> list[WrittenTest]:
        """Have the model write assertions, and run each against the code in the sandbox.

        Returns:
            Those that are Python and call the code, at most n, whether they pass or not.

        Raises:
            UserError: the code is invalid or defines nothing, the model does not answer, or the sandbox offers too
                little protection.
        """
        own = defined_names(parse(code)) if is_valid(code) else set()
        if not own:
            raise UserError("tests need code that is valid Python and defines a function or a class")
        answer = extract_code(self._ask(tests_prompt(code, n), seed)).code
        tests = [test for test in _separate_tests(answer) if _names_in(test) & own][:n]
        imports = "\n".join([*top_level_imports(parse(code)), *top_level_imports(parse(answer))])
        verifier = self._verifier or Verifier()
        return [
            WrittenTest(test, verifier.verify(Task(code, tuple(sorted(_names_in(test) & own)), (test,), imports)))
            for test in tests
        ]

    def _ask(self, prompt: Prompt, seed: int) -> str:
        return self._generator.generate(prompt, self._decoding, seed).text.strip()

    def _generated(self, request: CodeRequest, answer: Generation) -> GeneratedCode:
        found = self._extracted(request, answer.text)
        wanted = request.entry_point is None or request.entry_point in defined_names(parse(found.code))
        return GeneratedCode(request, answer.text, found.code, found.intact and bool(found.code) and wanted)

    def _extracted(self, request: CodeRequest, answer: str) -> Extraction:
        if self._style == "chat":
            found = extract_code(answer, request.entry_point)
            # An answer that repeats the function alone still needs the imports and helpers that it was shown.
            preamble = _before_function(request)
            return replace(found, code=f"{preamble}{found.code}") if found.code else found
        start = completion_start(request)
        if request.entry_point is not None:
            return complete_function(start, answer, request.entry_point)
        return extract_code(f"{start}{answer}")


def syntax_valid_rate(samples: Sequence[GeneratedCode]) -> float:
    """Share of the answers whose code is valid Python as it stands and defines what was asked for.

    Raises:
        ValueError: there is no answer.
    """
    if not samples:
        raise ValueError("the rate of no answers is not defined")
    return sum(sample.syntax_valid for sample in samples) / len(samples)


def findings_text(facts: Facts) -> str:
    """Facts for reading, a line each."""
    if facts.syntax_error:
        return f"syntax error: {facts.syntax_error}"
    lines = [f"line {one.line}: {one.message} ({one.tool} {one.code}, {one.severity})" for one in facts.findings]
    for function in facts.functions:
        present = {"a docstring": function.has_docstring, "types": function.is_annotated}
        missing = " and ".join(name for name, is_there in present.items() if not is_there)
        without = f", without {missing}" if missing else ""
        lines.append(f"line {function.line}: {function.name}: complexity {function.complexity}{without}")
    return "\n".join(lines) or "nothing to object to"


def _before_function(request: CodeRequest) -> str:
    """The imports and helpers that a request's text has before the function that is wanted."""
    if not request.start or not is_valid(request.start):
        return ""
    before = [node for node in parse(request.start).body if getattr(node, "name", None) != request.entry_point]
    return "".join(f"{ast.unparse(node)}\n" for node in before)


def _separate_tests(source: str) -> list[str]:
    """Each top-level assertion, and each test function with its call, as a program of its own."""
    tests = []
    for node in parse(source).body:
        if isinstance(node, ast.Assert):
            tests.append(ast.unparse(node))
        elif isinstance(node, ast.FunctionDef) and node.name.startswith("test") and not node.args.args:
            tests.append(f"{ast.unparse(node)}\n{node.name}()")
    return tests


def _names_in(source: str) -> set[str]:
    return {node.id for node in ast.walk(parse(source)) if isinstance(node, ast.Name)}
