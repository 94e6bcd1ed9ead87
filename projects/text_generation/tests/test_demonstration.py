"""The demonstration: three stages on the same requests, none of which is trained on, and what a report shows."""

from dataclasses import replace
from pathlib import Path

import pytest

from roadmap_shared.metrics import wilson_interval
from roadmap_shared.report import Report, Section, Table, render
from text_generation.config.data import TokenizerConfig
from text_generation.config.finetuning import TuningConfig
from text_generation.config.training import ModelConfig
from text_generation.corpora.stories.fields import StoryFields
from text_generation.corpora.stories.writer import write_story
from text_generation.corpora.story_checker import check_story
from text_generation.evaluation.obedience import Obedience
from text_generation.tokenizer import train_tokenizer
from text_generation.training.chat_data_stories import fresh_fields
from text_generation.training.demonstration import Plan, demonstrate
from text_generation.training.demonstration_stages import Stage, gain, gain_table, stage_figures
from text_generation.training.model import build_model

FIELDS = fresh_fields(3, seed=9)
ONE_STEP = TuningConfig(steps=1, batch_size=4, device="cpu", threads=1)
PLAN = Plan(conversations=8, pairs=4, finetuning=ONE_STEP, alignment=replace(ONE_STEP, learning_rate=1e-5))


def obedience(*obeyed: bool) -> Obedience:
    """Stories that are as asked for, or by mistake for another hero."""
    fields = fresh_fields(len(obeyed), seed=4)
    stories = tuple(
        write_story(each if good else replace(each, hero="Otto" if each.hero != "Otto" else "Mira"), 1).text
        for each, good in zip(fields, obeyed, strict=True)
    )
    return Obedience(tuple(fields), stories, tuple(check_story(s, f) for s, f in zip(stories, fields, strict=True)))


def start_folder(folder: Path) -> str:
    stories = [write_story(fields, 1).document for fields in fresh_fields(60, seed=2)]
    tokenizer = train_tokenizer(stories, TokenizerConfig(vocabulary=2000), context=256)
    build_model(ModelConfig(n_layers=2, width=32, n_heads=2, context=256), tokenizer, seed=3).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_the_three_stages_of_a_tiny_model(tmp_path: Path):
    found = demonstrate(start_folder(tmp_path), FIELDS, seed=1, plan=PLAN, headers=obedience(True, False))
    assert [stage.name for stage in found.stages] == ["before", "SFT", "DPO"]
    for stage in found.stages:
        assert stage.obedience.fields == tuple(FIELDS)
        assert len(stage.obedience.stories) == len(FIELDS)
    assert (found.n_pairs, found.aligned.n_rows + len(found.aligned.left_out)) == (4, 4)
    figures = found.figures()
    assert set(figures) >= {"requests_obeyed_before", "requests_ending_sft_low", "requests_obeyed_dpo_high"}
    page = render(Report(title="t", project="p", command="c", sections=[Section("Obedience", found.blocks())]))
    assert "Asked by header, the model before obeys all four fields in 50% of" in page


def test_rates_have_wilsons_interval() -> None:
    # Nought of 4: up to z² / (4 + z²) with z² = 3.841459.
    nought = obedience(*[False] * 4).rate("hero")
    assert (nought.estimate, nought.low, nought.high) == (0.0, 0.0, pytest.approx(0.489891, abs=1e-6))
    assert obedience(True, False, True, True).rate("obeyed") == wilson_interval(3, 4)


def test_what_is_measured_is_not_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen: list[set[StoryFields]] = []

    def nothing(count: int, seed: int, without: set[StoryFields]) -> list[object]:
        seen.append(without)
        raise InterruptedError

    monkeypatch.setattr("text_generation.training.demonstration.story_conversations", nothing)
    with pytest.raises(InterruptedError):
        demonstrate(start_folder(tmp_path), FIELDS, seed=1, plan=PLAN)
    assert seen == [set(FIELDS)]


def test_nothing_to_ask_for(tmp_path: Path):
    with pytest.raises(ValueError) as error:
        demonstrate(str(tmp_path), [], seed=1)
    assert str(error.value) == "there is nothing to ask for: give the fields of held-out stories"


def test_the_gain_is_paired():
    before, after = Stage("before", obedience(False, False, True)), Stage("SFT", obedience(True, False, True))
    found = gain(before, after, "hero")
    assert found.difference == pytest.approx(1 / 3)
    assert gain(before, before, "hero").difference == 0
    table = gain_table([before, after])
    assert isinstance(table, Table)
    assert table.rows[0][:2] == ["before → SFT", "hero"]


def test_figures_are_flat():
    figures = stage_figures([Stage("before", obedience(True, False))])
    assert figures["requests_hero_before"] == 0.5
    assert figures["requests_theme_before"] == 1.0
