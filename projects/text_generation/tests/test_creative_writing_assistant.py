"""The assistant: steps in their order, a folder that keeps them, what interrupts and what resumes."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from roadmap_shared.errors import UserError
from roadmap_shared.metrics import paired_bootstrap, wilson_interval
from roadmap_shared.report import Report, render
from text_generation.backends.hf import HuggingFaceBackend
from text_generation.backends.scripted import ScriptedBackend
from text_generation.backends.types import Prompt
from text_generation.config.backend import BackendConfig
from text_generation.config.decoding import GREEDY, DecodingConfig
from text_generation.config.writing import WriteConfig
from text_generation.corpora.stories.fields import StoryFields, draw_fields, parse_document
from text_generation.corpora.stories.writer import write_story
from text_generation.creative_writing_assistant import Brief, CreativeWritingAssistant, Story
from text_generation.text_generator import TextGenerator
from text_generation.writing.brief import make_brief
from text_generation.writing.commands import run_write
from text_generation.writing.project import open_project
from text_generation.writing.rates import lines, measure_assistant, writing_section

BRIEF = Brief(theme="a lost key", hero="Mira", pronoun="she", min_words=5, max_words=40)
OUTLINE = "Title: The Key\n1. Mira loses a key.\n2. She finds it."
DRAFT = "Mira lost a key. She wept."
REVISION = "Mira lost a key. She found it, and Mira smiled."
ANSWERS = [OUTLINE, DRAFT, "- The ending is sad.", REVISION]
HEADER_BRIEF = make_brief({"theme": "sea", "hero": "Mira"}, "headers")


def scripted(answers: list[str] | Callable[[Prompt], str]) -> tuple[ScriptedBackend, TextGenerator]:
    backend = ScriptedBackend(answers)
    return backend, TextGenerator(backend)


def write(
    folder: Path, answers: list[str], brief: Brief = BRIEF, seed: int = 0, **options: object
) -> tuple[Story, ScriptedBackend, list[str]]:
    notes: list[str] = []
    backend, generator = scripted(answers)
    assistant = CreativeWritingAssistant(generator, say=notes.append, **options)  # type: ignore[arg-type]
    with open_project(folder, brief, notes.append) as project:
        return assistant.write(brief, seed, project), backend, notes


def text_of(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else prompt[-1].content


def test_every_step_sees_what_came_before(tmp_path: Path) -> None:
    story, backend, _ = write(tmp_path, ANSWERS)
    outline, draft, critique, revision = map(text_of, backend.asked)
    assert "- Theme: a lost key" in outline
    assert "1. Mira loses a key." in draft
    assert DRAFT in critique
    assert "found: the closing sentences hold no formulation of the ending 'happy'\n" in critique
    assert "- the closing sentences hold no formulation of the ending 'happy'\n- The ending is sad." in revision
    assert (story.title, story.text, story.chosen) == ("The Key", REVISION, "revision")
    assert story.check.passed
    assert (tmp_path / "story.md").read_text() == f"# The Key\n\n{REVISION}\n"
    about = json.loads((tmp_path / "story.json").read_text())
    assert (about["model"], about["chosen"], about["missed"]) == ("scripted", "revision", {})


def test_a_draft_without_problems_is_not_revised(tmp_path: Path) -> None:
    story, backend, _ = write(tmp_path, [OUTLINE, REVISION, "No problems."])
    assert len(backend.asked) == 3
    assert story.text == story.texts["draft"] == REVISION


def test_a_revision_that_is_worse_is_not_taken(tmp_path: Path) -> None:
    story, _, _ = write(tmp_path, [*ANSWERS[:3], "She slept"])
    assert (story.chosen, story.text) == ("draft", DRAFT)


def test_finished_steps_are_not_asked_again(tmp_path: Path) -> None:
    first, _, _ = write(tmp_path, ANSWERS)
    again, backend, notes = write(tmp_path, [])
    assert again == first
    assert backend.asked == []
    assert notes == ["outline: kept", "draft: kept", "critique: kept", "revision: kept"]


def test_a_changed_input_asks_what_depends_on_it(tmp_path: Path) -> None:
    write(tmp_path, ANSWERS)
    _, backend, _ = write(tmp_path, ANSWERS, seed=1)
    assert len(backend.asked) == 4
    # The text is the same as before: nothing was replaced.
    assert not (tmp_path / "older").exists()
    other = Brief(theme=BRIEF.theme, hero="Mira", pronoun="she", mood="bold", min_words=5, max_words=40)
    write(tmp_path, [*ANSWERS[:3], "Mira found the key and smiled."], other, seed=1)
    assert (tmp_path / "older" / "revision-01.md").read_text() == f"{REVISION}\n"
    assert json.loads((tmp_path / "brief.json").read_text())["mood"] == "bold"


def test_an_edited_step_stays_and_what_follows_is_written_for_it(tmp_path: Path) -> None:
    write(tmp_path, ANSWERS)
    edited = "# The Key\n\n1. Mira loses a key in the sea.\n2. A fish brings it."
    (tmp_path / "outline.md").write_text(f"{edited}\n\n")
    story, backend, notes = write(tmp_path, ANSWERS[1:])
    assert notes[0] == f"outline: kept as {tmp_path / 'outline.md'} has it"
    assert story.texts["outline"] == edited
    assert "A fish brings it." in text_of(backend.asked[0])
    # Another seed changes every input, and the edited text stays none the less.
    assert write(tmp_path, ANSWERS[1:], seed=5)[0].texts["outline"] == edited
    (tmp_path / "outline.md").unlink()
    assert write(tmp_path, ANSWERS, seed=5)[0].texts["outline"].startswith("# The Key\n\n1. Mira loses a key.\n")


def test_a_crash_between_two_files_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, ANSWERS)
    old = (tmp_path / "draft.md").read_bytes()
    write(tmp_path, [OUTLINE, f"{DRAFT} Oh!", *ANSWERS[2:]], seed=1)
    # As it is when the process ends after the JSON of the new draft, before its Markdown.
    (tmp_path / "draft.md").write_bytes(old)
    story, backend, _ = write(tmp_path, [], seed=1)
    assert story.texts["draft"] == f"{DRAFT} Oh!"
    assert backend.asked == []
    assert (tmp_path / "draft.md").read_text() == f"{DRAFT} Oh!\n"
    # And when the Markdown alone is gone.
    (tmp_path / "draft.md").unlink()
    assert write(tmp_path, [], seed=1)[0] == story
    assert (tmp_path / "draft.md").exists()


def test_a_damaged_record_is_named_and_its_text_kept(tmp_path: Path) -> None:
    write(tmp_path, ANSWERS)
    (tmp_path / "draft.json").write_text('{"step": "dra')
    story, backend, notes = write(tmp_path, [])
    assert notes[1:3] == [
        f"{tmp_path / 'draft.json'}: is damaged and set aside as draft.json.bak",
        f"draft: kept as {tmp_path / 'draft.md'} has it",
    ]
    assert story.text == REVISION
    assert backend.asked == []


def test_an_answer_that_breaks_off_is_kept_beside(tmp_path: Path) -> None:
    shown: list[str] = []

    def show(piece: str) -> None:
        shown.append(piece)
        if "wept" in piece:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, ANSWERS, stream=show)
    assert "".join(shown) == f"{OUTLINE}\n\n{DRAFT}"
    assert (tmp_path / "draft.unfinished.md").read_text() == f"{DRAFT}\n"
    story, backend, notes = write(tmp_path, ANSWERS[1:], stream=shown.append)
    assert notes[0] == "outline: kept"
    assert len(backend.asked) == 3
    assert story.text == REVISION
    assert not (tmp_path / "draft.unfinished.md").exists()


@pytest.mark.parametrize("stream", [None, lambda piece: None])
def test_an_unusable_answer_is_asked_again(tmp_path: Path, stream: object) -> None:
    story, backend, notes = write(tmp_path, ["I cannot.", *ANSWERS], stream=stream)
    assert story.text == REVISION
    assert len(backend.asked) == 5
    assert notes[1] == "outline: the answer holds no plot points, each on a line with its number"
    with pytest.raises(UserError) as caught:
        write(tmp_path / "other", ["no"] * 3, stream=stream)
    assert str(caught.value) == (
        "scripted gave no usable outline in 3 attempts: its answer holds no plot points, each on a line with its "
        "number. Use a model that follows instructions, or other --decoding settings."
    )
    # A greedy answer would be the same again.
    with pytest.raises(UserError, match=r"^scripted gave no usable outline: its answer"):
        write(tmp_path / "third", ["no"], stream=stream, decoding=GREEDY)


def test_of_several_drafts_the_best_is_taken(tmp_path: Path) -> None:
    story, _, _ = write(tmp_path, [OUTLINE, DRAFT, REVISION, "", "- Bland.", REVISION, DRAFT, "She"], samples=3)
    assert story.texts["draft"] == story.text == REVISION


def test_another_theme_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    write(tmp_path, ANSWERS)
    with pytest.raises(UserError) as caught:
        write(tmp_path, [], Brief(theme="a storm", hero="Mira"))
    assert str(caught.value) == (
        f"{tmp_path}: holds a story about 'a lost key' with the hero Mira, not about 'a storm' with Mira. Choose "
        "another --folder for it."
    )
    with open_project(tmp_path, BRIEF, print), pytest.raises(UserError) as caught:
        write(tmp_path, [])
    assert str(caught.value) == (f"{tmp_path}: another process writes there. Wait for it, or choose another --folder.")
    (tmp_path / "brief.json").write_text("{")
    with pytest.raises(UserError, match=r"brief.json: is damaged. Remove it and say the theme and hero again"):
        write(tmp_path, [])
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file: cannot be written to \(File exists\)"):
        write(tmp_path / "file", [])


def test_half_a_surrogate_pair_and_foreign_line_ends(tmp_path: Path) -> None:
    answers = [OUTLINE, "Mira lost\r\na key \ud83d. She wept.", "- Sad.", REVISION]
    story, _, _ = write(tmp_path, answers)
    assert story.texts["draft"] == "Mira lost\na key ?. She wept."
    assert write(tmp_path, [])[0] == story


class NoisyStories:
    """A model that obeys each control field with a probability: it goes on from headers with stories of the grammar."""

    def __init__(self, obeys: float) -> None:
        self._rng, self._obeys = random.Random(0), obeys

    def __call__(self, prompt: Prompt) -> str:
        assert isinstance(prompt, str)
        asked, kept = parse_document(prompt)
        other = draw_fields(self._rng)
        values = [
            getattr(asked if self._rng.random() < self._obeys else other, name)
            for name in ("theme", "hero", "mood", "ending")
        ]
        story = write_story(StoryFields(*values), self._rng.getrandbits(32)).text
        # Whoever goes on from a beginning ends it as the drawn story ends.
        return story if not kept else " " + " ".join(story.split(". ")[-3:])


def test_the_rates_beside_the_baseline() -> None:
    rng = random.Random(1)
    briefs = [
        make_brief({name: getattr(fields, name) for name in ("theme", "hero", "mood", "ending")}, "headers")
        for fields in (draw_fields(rng) for _ in range(12))
    ]
    _, generator = scripted(NoisyStories(0.8))
    measured = measure_assistant(CreativeWritingAssistant(generator, style="headers", samples=4), briefs)
    everything = measured.rate("all")
    plain = [float(not parse_reasons(text, brief)) for text, brief in zip(measured.baselines, briefs, strict=True)]
    helped = [float(story.check.passed) for story in measured.stories]
    assert everything.baseline == wilson_interval(int(sum(plain)), 12)
    assert everything.assistant == wilson_interval(int(sum(helped)), 12)
    assert everything.difference == paired_bootstrap(plain, helped)
    assert everything.difference.low > 0
    assert [rate.name for rate in measured.rates][1:] == [
        "theme",
        "hero",
        "pronouns",
        "mood",
        "ending",
        "length",
        "complete",
    ]
    summary = measured.summary()
    assert summary["assistant_all"] - summary["baseline_assistant_all"] == pytest.approx(summary["assistant_all_gain"])
    page = render(Report(title="x", project="p", command="c", sections=[writing_section(measured)]))
    assert "With 12 stories the intervals of the differences are too narrow." in page
    assert lines(measured)[0].split() == ["demand", "in", "one", "go", "assistant", "difference", "[95", "%]"]
    rows = [json.loads(line) for line in measured.json_lines().splitlines()]
    assert [row["story"] for row in rows] == [story.text for story in measured.stories]


def parse_reasons(text: str, brief: Brief) -> dict[str, str]:
    from text_generation.corpora.story_checker import check_story

    return check_story(text, brief.story_fields).reasons


def test_batches_and_single_stories_agree() -> None:
    def answer(prompt: Prompt) -> str:
        text = text_of(prompt)
        if text.startswith("Plan"):
            return "I cannot." if "Otto" in text and len(backend.asked) < 3 else OUTLINE
        return "- Bland." if "editor" in text else REVISION

    backend, generator = scripted(answer)
    briefs = [BRIEF, Brief(theme="key", hero="Otto", min_words=2, max_words=9)]
    stories = CreativeWritingAssistant(generator).write_many(briefs)
    assert [story.brief for story in stories] == briefs
    assert [story.text for story in stories] == [REVISION] * 2
    # Only the outline that could not be used was asked again.
    assert sum(text_of(prompt).startswith("Plan") for prompt in backend.asked) == 3
    assert CreativeWritingAssistant(generator).write_many([]) == []


@pytest.fixture(scope="module")
def tiny() -> HuggingFaceBackend:
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        ["Theme: sea | Hero: Mira | Mood: gentle | Ending: happy"] * 3,
        vocab_size=300,
        special_tokens=["<|end|>"],
        show_progress=False,
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, eos_token="<|end|>")
    torch.manual_seed(0)
    size = {"n_positions": 256, "n_embd": 32, "n_layer": 2, "n_head": 4, "bos_token_id": 0, "eos_token_id": 0}
    return HuggingFaceBackend(GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **size)), tokenizer, name="tiny")  # type: ignore[arg-type]


def test_a_real_model_that_knows_nothing(tmp_path: Path, tiny: HuggingFaceBackend) -> None:
    decoding = DecodingConfig(max_new_tokens=12)
    assistant = CreativeWritingAssistant(TextGenerator(tiny), style="headers", samples=3, decoding=decoding)
    with open_project(tmp_path, HEADER_BRIEF, print) as project:
        story = assistant.write(HEADER_BRIEF, project=project)
    assert story.texts["outline"] == HEADER_BRIEF.story_fields.header
    assert not story.check.passed
    # The same seed gives the same story, without the folder too.
    assert assistant.write(HEADER_BRIEF).texts == story.texts
    assert assistant.write(HEADER_BRIEF, seed=1).texts["draft"] != story.texts["draft"]


def script(folder: Path, answers: list[str]) -> BackendConfig:
    path = folder / "answers.txt"
    path.write_text("\n".join(answers))
    return BackendConfig(kind="scripted", model=str(path))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    backend = script(tmp_path, ["1. Mira loses it. 2. x", DRAFT, "No problems.", REVISION])
    (tmp_path / "story").mkdir()
    (tmp_path / "story" / "outline.md").write_text("1. My own.\n2. Outline.")
    config = WriteConfig(theme="key", hero="Mira", folder=tmp_path / "story", min_words=3, backend=backend)
    run_write(config)
    captured = capsys.readouterr()
    # The outline is the reader's; the script begins with what is then an unusable draft of eight words.
    assert captured.out == f"{(tmp_path / 'story' / 'story.md').read_text()}"
    assert captured.err.startswith(
        f"outline: kept as {tmp_path / 'story' / 'outline.md'} has it\ndraft: asking answers\n"
    )
    with pytest.raises(UserError, match="the story's theme is missing: give it with --theme"):
        run_write(WriteConfig(folder=tmp_path / "none", backend=backend))
    # Without a theme, the folder says what is asked.
    run_write(WriteConfig(folder=tmp_path / "story", backend=backend))
    assert capsys.readouterr().out == captured.out


def test_a_file_of_briefs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    briefs = tmp_path / "briefs.jsonl"
    lines_of_file = [
        {"theme": "sea", "hero": "Mira", "min_words": 1},
        {"theme": "sea"},
        {"theme": "key", "hero": "Otto", "min_words": 1},
    ]
    briefs.write_text("\n".join(map(json.dumps, lines_of_file)) + "\n{")
    story = "Otto and the sea and the key. He smiled."
    backend = script(tmp_path, ["1. a. 2. b.", story])
    for name in ("001", "002"):
        (tmp_path / "out" / name).mkdir(parents=True)
        (tmp_path / "out" / name / "outline.md").write_text("1. a\n2. b")
    config = WriteConfig(briefs=briefs, folder=tmp_path / "out", backend=backend)
    run_write(config)
    captured = capsys.readouterr()
    assert f"passed over: {briefs}:2: the story's hero is missing\n" in captured.err
    assert f"passed over: {briefs}:4: broken JSON" in captured.err
    assert captured.out.splitlines()[-1] == "With 2 stories the intervals of the differences are too narrow."
    assert (tmp_path / "out" / "report.html").exists()
    run_write(config)
    assert capsys.readouterr().out == captured.out
    briefs.write_text('{"theme": "sea"}')
    with pytest.raises(UserError) as caught:
        run_write(config)
    assert str(caught.value) == (
        f"{briefs}: holds no story to write ({briefs}:1: the story's hero is missing). Write "
        '{"theme": ..., "hero": ...} on each line.'
    )
