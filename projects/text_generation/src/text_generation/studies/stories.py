"""Stories to order: written in steps with a checker, and learned from requests and preferences."""

from roadmap_shared.files import atomic_write
from roadmap_shared.report import Section
from text_generation.config.decoding import DecodingConfig
from text_generation.corpora.stories.fields import StoryFields
from text_generation.corpora.story_checker import MAX_WORDS, MIN_WORDS
from text_generation.creative_writing_assistant import CreativeWritingAssistant
from text_generation.evaluation.obedience import STORY_TOKENS
from text_generation.studies.types import Bench, NotApplicableError, Study
from text_generation.text_generator import TextGenerator
from text_generation.training.demonstration import Plan, demonstrate
from text_generation.writing.brief import Brief, make_brief
from text_generation.writing.rates import measure_assistant, writing_section

DRAFTS = 4


def writing(bench: Bench) -> Study:
    """The writing assistant beside stories written in one go, for the same held-out headers."""
    fields = story_fields(bench)[: bench.sizes.cases]
    assistant = CreativeWritingAssistant(
        TextGenerator(bench.backend), style="headers", decoding=drawn(), samples=DRAFTS
    )
    measured = measure_assistant(assistant, [brief_of(each) for each in fields], bench.run.seed)
    atomic_write(bench.run.folder / "assistant.jsonl", measured.json_lines())
    cost = (
        f"The assistant draws {DRAFTS} drafts, and as many revisions where a demand is missed; the story in one go is "
        "one draft at the same temperature."
    )
    return Study([writing_section(measured, cost)], measured.summary())


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


def brief_of(fields: StoryFields) -> Brief:
    """The same demands, with the length of the built-in stories."""
    asked = {"theme": fields.theme, "hero": fields.hero, "mood": fields.mood, "ending": fields.ending}
    return make_brief({**asked, "min_words": MIN_WORDS, "max_words": MAX_WORDS}, "headers")


def drawn() -> DecodingConfig:
    """How drafts are drawn: they have to differ."""
    return DecodingConfig(temperature=1.0, top_p=0.95, max_new_tokens=STORY_TOKENS)
