"""Structured output: what a constraint brings, and what it costs."""

from typing import Any

from text_generation.corpora.stories.fields import ENDINGS, MOODS, THEMES
from text_generation.prompting.cases import SENTIMENT_CASES, read_cases
from text_generation.prompting.constrained_cost import ConstraintCost, constraint_cost
from text_generation.prompting.sections import constraint_section
from text_generation.prompting.structured import Constraint, json_schema_constraint, python_body_constraint
from text_generation.studies.functions import function_beginnings
from text_generation.studies.types import Bench, NotApplicableError, Study

JSON_TOKENS = 80
"""More than the bytes of any text of the schemas below. A token holds one byte at least, so that no constrained text is
cut, whatever the tokenizer."""

FUNCTION_TOKENS = 96

STORY_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "theme": {"enum": list(THEMES)},
        "hero": {"type": "string", "pattern": "^[A-Z][a-z]{1,11}$"},
        "mood": {"enum": list(MOODS)},
        "ending": {"enum": list(ENDINGS)},
    },
    "required": ["theme", "hero", "mood", "ending"],
    "additionalProperties": False,
}
REVIEW_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "sentiment": {"enum": ["positive", "negative"]},
        "reason": {"type": "string", "pattern": "^[A-Za-z][A-Za-z ,']{0,39}$"},
    },
    "required": ["sentiment", "reason"],
    "additionalProperties": False,
}


def json_output(bench: Bench) -> Study:
    """A JSON Schema: the fields of a story where the corpus has some, else a labelled review."""
    if bench.obedience is not None:
        schema = STORY_SCHEMA
        prompts = [f"{each.header}\nThe same as JSON:\n" for each in bench.obedience.fields]
    else:
        schema = REVIEW_SCHEMA
        reviews = (case.variables["review"] for case in read_cases(SENTIMENT_CASES)[0])
        prompts = [f"Review: {review}\nSentiment and reason as JSON:\n" for review in reviews]
    return study(bench, "JSON Schema", prompts, json_schema_constraint(schema), JSON_TOKENS, "json")


def python_output(bench: Bench) -> Study:
    """The grammar of Python: bodies of held-out functions, drawn freely and under the grammar."""
    if "function" not in bench.corpus.kinds:
        raise NotApplicableError("the corpus has no functions")
    beginnings = function_beginnings(bench.corpus, bench.sizes.cases)
    constraint = python_body_constraint(after_line_break=True)
    return study(bench, "Python functions", beginnings, constraint, FUNCTION_TOKENS, "function")


def study(bench: Bench, what: str, prompts: list[str], constraint: Constraint, tokens: int, key: str) -> Study:
    """Free and constrained texts for the first prompts that leave room for `tokens`."""
    room = bench.backend.context_window - tokens
    fitting = [prompt for prompt in prompts if bench.backend.count_tokens(prompt) <= room][: bench.sizes.cases]
    if not fitting:
        raise NotApplicableError(f"no prompt leaves {tokens} tokens of a context of {bench.backend.context_window}")
    cost = constraint_cost(
        bench.backend.network,
        bench.backend.tokenizer,
        fitting,
        constraint,
        max_new_tokens=tokens,
        temperature=0.7,
        seed=bench.run.seed,
    )
    return Study([constraint_section(cost, what)], figures(cost, key))


def figures(cost: ConstraintCost, key: str) -> dict[str, Any]:
    """Shares of valid texts, of whole ones among the constrained, and both speeds; of Python also the shares once the
    texts are cut to their last whole statement."""
    ended = [valid for valid, text in zip(cost.constrained_valid, cost.constrained, strict=True) if text.complete]
    shares = {
        f"{key}_valid_free": cost.free_valid,
        f"{key}_valid_constrained": cost.constrained_valid,
        f"{key}_valid_of_ended_constrained": ended,
    }
    if cost.kind == "python":
        shares |= {
            f"{key}_valid_free_cut": cost.free_cut_valid,
            f"{key}_valid_constrained_cut": cost.constrained_cut_valid,
        }
    return {
        **{name: sum(valid) / len(valid) if valid else None for name, valid in shares.items()},
        f"{key}_forbidden_nats_per_token": cost.forbidden_nats_per_token,
        f"{key}_tokens_per_second_free": cost.tokens_per_second(cost.free),
        f"{key}_tokens_per_second_constrained": cost.tokens_per_second(cost.constrained),
    }
