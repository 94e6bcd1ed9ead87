"""Stories to order: written in steps with a checker, and learned from requests and preferences."""

from collections.abc import Mapping
from dataclasses import replace

from roadmap_shared.files import atomic_write
from roadmap_shared.report import Section
from text_generation.config.decoding import DecodingConfig
from text_generation.config.writing import WRITING_DECODING, WritingStyle
from text_generation.corpora.stories.fields import StoryFields
from text_generation.corpora.story_checker import MAX_WORDS, MIN_WORDS
from text_generation.creative_writing_assistant import CreativeWritingAssistant
from text_generation.evaluation.obedience import STORY_TOKENS
from text_generation.studies.types import Bench, NotApplicableError, Study
from text_generation.text_generator import TextGenerator
from text_generation.training.demonstration import Plan, demonstrate
from text_generation.writing.brief import Brief, make_brief
from text_generation.writing.rates import measure_assistant, writing_section

DRAFTS: Mapping[WritingStyle, int] = {"headers": 4, "chat": 1}
"""Among which the checker picks. A chat model revises by its critique instead, in a call as long as a draft."""

CHAT_TOKENS = 320
"""For an answer of a chat model: the longest story, in common tokenizers, and some room for an outline."""

COSTS: Mapping[WritingStyle, str] = {
    "headers": f"The assistant draws {DRAFTS['headers']} drafts, and as many revisions where a demand is missed; the "
    "story in one go is one draft at the same temperature.",
    "chat": "The assistant asks for an outline, a draft and a critique, and for a revision where the critique finds "
    "something; the story in one go is one answer at the same temperature.",
}


def writing(bench: Bench) -> Study:
    """The writing assistant beside stories written in one go, for the same held-out headers: those of the built-in
    model, or the demands of these headers in plain words for a model that follows instructions."""
    style: WritingStyle = "chat" if bench.follows_instructions else "headers"
    fields = demanded(bench) if style == "chat" else story_fields(bench)
    briefs = [brief_of(each, style) for each in fields[: bench.sizes.cases]]
    assistant = CreativeWritingAssistant(
        TextGenerator(bench.backend), style=style, decoding=drawn(style), samples=DRAFTS[style]
    )
    measured = measure_assistant(assistant, briefs, bench.run.seed)
    atomic_write(bench.run.folder / "assistant.jsonl", measured.json_lines())
    return Study([writing_section(measured, COSTS[style])], measured.summary())


def alignment(bench: Bench) -> Study:
    """Supervised fine-tuning and DPO of a copy of the model, and what it obeys before and after each."""
    fields = story_fields(bench)
    plan = Plan(conversations=bench.sizes.conversations, pairs=bench.sizes.pairs, batch_size=bench.sizes.batch_size)
    found = demonstrate(bench.source, fields, bench.run.seed, plan, bench.obedience)
    return Study([Section("Teaching it to do what it is asked in plain words", found.blocks())], found.figures())


def story_fields(bench: Bench) -> tuple[StoryFields, ...]:
    """The headers that obedience was measured on."""
    if not bench.is_built_in or bench.obedience is None:
        raise NotApplicableError("it needs a model that was trained here on the built-in stories")
    return bench.obedience.fields


def demanded(bench: Bench) -> tuple[StoryFields, ...]:
    """The held-out headers, whoever is asked."""
    if bench.obedience is None:
        raise NotApplicableError("the corpus has no stories with headers")
    return bench.obedience.fields


def brief_of(fields: StoryFields, style: WritingStyle = "headers") -> Brief:
    """The same demands, with the length of the built-in stories."""
    asked = {"theme": fields.theme, "hero": fields.hero, "mood": fields.mood, "ending": fields.ending}
    return make_brief({**asked, "min_words": MIN_WORDS, "max_words": MAX_WORDS}, style)


def drawn(style: WritingStyle) -> DecodingConfig:
    """How drafts are drawn: those of the built-in model have to differ."""
    if style == "chat":
        return replace(WRITING_DECODING, max_new_tokens=CHAT_TOKENS)
    return DecodingConfig(temperature=1.0, top_p=0.95, max_new_tokens=STORY_TOKENS)
