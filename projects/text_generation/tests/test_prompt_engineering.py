"""The entry module, the subcommands and the report sections, with scripted models and one tiny real one."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from roadmap_shared.config import RunConfig, parse_config
from roadmap_shared.errors import UserError
from roadmap_shared.report import Report, Table, render
from text_generation.backends.hf import HuggingFaceBackend
from text_generation.backends.scripted import ScriptedBackend
from text_generation.backends.types import BackendError, Prompt
from text_generation.config.decoding import DecodingConfig
from text_generation.config.prompting import ABConfig, InjectConfig, PromptsConfig
from text_generation.prompt_engineering import PromptEngineer
from text_generation.prompting.answers import after_marker
from text_generation.prompting.cases import SENTIMENT_CASES, Case, read_cases
from text_generation.prompting.commands import run_ab, run_inject, run_prompts
from text_generation.prompting.constrained_cost import constraint_cost
from text_generation.prompting.search_types import SearchSettings
from text_generation.prompting.sections import ab_section, constraint_section, search_section, votes_section
from text_generation.prompting.self_consistency import vote
from text_generation.prompting.structured import regex_constraint

CASES, _ = read_cases(SENTIMENT_CASES)
TEXT_OF = {case.variables["review"]: case.reference for case in CASES}


def text_of(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else "\n".join(message.content for message in prompt)


def reviewer(prompt: Prompt) -> str:
    """Right with examples; without them it always says positive."""
    text = text_of(prompt)
    review = text.rpartition("Review: ")[2].partition("\n")[0]
    return f" {TEXT_OF[review]}" if "hinges" in text else " positive"


def nats(prompt: Prompt, text: str) -> float:
    return 2.0 + (len(text_of(prompt)) < 300)


def tiny() -> HuggingFaceBackend:
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.train_from_iterator(
        ["review the words"],
        trainers.BpeTrainer(
            vocab_size=280,
            special_tokens=["<|end|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|end|>")
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=1500, n_embd=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0
    )
    return HuggingFaceBackend(GPT2LMHeadModel(config), tokenizer, name="tiny")


def test_ask_vote_and_compare() -> None:
    engineer = PromptEngineer(ScriptedBackend(reviewer, likelihood=nats))
    assert engineer.ask("sentiment_few_shot", review="The zip broke on the first day.") == " negative"
    result = engineer.compare(["sentiment_zero_shot", "sentiment_few_shot"], CASES)
    by_score, by_nats = result.comparisons
    assert by_score.difference.difference == 0.5
    assert by_score.verdict == by_nats.verdict == "sentiment_few_shot better"
    of_score, of_nats = (block for block in ab_section(result).blocks if isinstance(block, Table))
    assert (of_score.columns[1], of_nats.columns[1]) == ("score", "nats a byte")
    for table, comparison in ((of_score, by_score), (of_nats, by_nats)):
        first, second = table.rows
        assert first[2:] == [None, None, None, "the first"]
        assert second[2].estimate == comparison.difference.difference
        assert second[3:] == [comparison.b_better, comparison.n_ties, "better"]
    voter = PromptEngineer(ScriptedBackend(["so\nAnswer: positive", "hm\nAnswer: negative"], repeat=True))
    found = voter.vote("sentiment_chain_of_thought", after_marker, n_samples=4, review="Fine.")
    assert (found.answer, found.tied) == ("positive", ("positive", "negative"))
    (table, _) = votes_section([found, vote(["negative", "positive", "negative"])], ["positive", "negative"]).blocks
    assert isinstance(table, Table)
    rows = {str(row[0]): row[1] for row in table.rows}
    assert rows["right by vote"].estimate == 1
    assert rows["right by one sample, on average"].estimate == pytest.approx((2 / 4 + 2 / 3) / 2)
    assert rows["gain"].estimate == pytest.approx(1 - (2 / 4 + 2 / 3) / 2)
    assert rows["votes that ended in a tie"] == 1


def test_similar_examples_reach_the_prompt() -> None:
    pool = [{"review": "The zip jams.", "answer": "negative"}, {"review": "Great soup.", "answer": "positive"}]
    backend = ScriptedBackend(lambda prompt: "negative")
    engineer = PromptEngineer(backend)
    selection = engineer.similar_examples(pool, "review", 1)
    case = Case({"review": "My zip broke."}, "negative")
    names = ["sentiment_zero_shot", "sentiment_few_shot"]
    engineer.compare(names, [case], likelihood=False, selections={"sentiment_few_shot": selection})
    assert "The zip jams." in text_of(backend.asked[1])
    assert "Great soup." not in text_of(backend.asked[1])


def test_search_and_its_section(tmp_path: Path) -> None:
    def likelihood(prompt: Prompt, text: str) -> float:
        return 1.0 if text_of(prompt).startswith("Decide") else 5.0

    backend = ScriptedBackend(["Decide the mood.", "Guess."], likelihood=likelihood, repeat=True)
    cases = [Case({"input": case.variables["review"]}, case.reference, case.source) for case in CASES]
    settings = SearchSettings(200, generations=1, variations=2)
    result = PromptEngineer(backend).search(["Label it."], cases, settings, log=tmp_path / "log.jsonl")
    assert result.winner.instruction == "Decide the mood."
    assert result.winner.source == "variation of: Label it."
    assert result.gain.low > 0
    assert result.calls <= 200
    html = render(Report(title="t", project="p", command="c", sections=[search_section(result)]))
    assert "Decide the mood." in html
    assert "cannot be told apart" not in html


def test_structured_answers() -> None:
    engineer = PromptEngineer(tiny(), decoding=DecodingConfig(strategy="sampling", max_new_tokens=400))
    answer = engineer.ask_structured("sentiment_structured_output", review="Good.")
    schema = engineer.library.get("sentiment_structured_output").schema
    assert answer.finish_reason == "stop"
    jsonschema.validate(json.loads(answer.text), dict(schema or {}))
    label = engineer.ask_structured("sentiment_zero_shot", regex_constraint(" (positive|negative)"), review="Good.")
    assert label.text in (" positive", " negative")
    with pytest.raises(UserError) as caught:
        engineer.ask_structured("sentiment_zero_shot", review="Good.")
    assert str(caught.value) == (
        "library/sentiment_zero_shot.yaml: has no field 'schema'. Add one, or give a constraint."
    )
    with pytest.raises(UserError) as caught:
        PromptEngineer(ScriptedBackend([])).ask_structured("sentiment_structured_output", review="Good.")
    assert str(caught.value) == ("the back end 'scripted' cannot be constrained token by token. Use --backend.kind hf.")


def test_the_cost_section() -> None:
    model = tiny()
    cost = constraint_cost(model.network, model.tokenizer, ["a"], regex_constraint("[ab]{3}"), max_new_tokens=8)
    html = render(Report(title="t", project="p", command="c", sections=[constraint_section(cost, "letters")]))
    assert "1 of 1" in html
    assert "0 of 1" in html


def test_attack_from_the_entry_module() -> None:
    result = PromptEngineer(ScriptedBackend(lambda prompt: "I'm sorry, I can't.")).attack()
    assert [of.defence.name for of in result.results] == ["none", "layered"]


# Subcommands


def test_list_show_and_render(capsys: pytest.CaptureFixture[str]) -> None:
    run_prompts(PromptsConfig())
    assert "sentiment_zero_shot " in capsys.readouterr().out
    run_prompts(PromptsConfig(action="show", template="story_role"))
    assert capsys.readouterr().out.startswith("name: story_role\nversion: 1.0.0\n")
    run_prompts(PromptsConfig(action="render", template="story_role", values=("hero=Ada", "theme=a=b", "ending=happy")))
    assert capsys.readouterr().out.endswith("[user]\nTell us the one about Ada and a=b. Give it a happy ending.\n")


def test_ab_leaves_a_report_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "answers.jsonl"
    config = ABConfig(run=RunConfig(name="ab", root=tmp_path), log=log)
    summary = run_ab(config, ScriptedBackend(reviewer, likelihood=nats))
    assert summary["sentiment_few_shot_better_by_score"] == 0.75
    assert "sentiment_few_shot better than sentiment_zero_shot in 75 % [" in capsys.readouterr().out
    again = run_ab(config, ScriptedBackend([]))
    assert again["sentiment_few_shot_better_by_score_low"] == summary["sentiment_few_shot_better_by_score_low"]
    html = (tmp_path / "text_generation" / "latest" / "report.html").read_text()
    assert re.search(r"sentiment_few_shot \d+\.\d+\.\d+<", html)


def test_a_server_that_fails_keeps_what_it_answered(tmp_path: Path) -> None:
    class Broken(ScriptedBackend):
        def generate(self, prompts: Any, decoding: Any, seed: int = 0) -> Any:
            if len(self.asked) > 20:
                raise BackendError("http://x/v1 did not answer in 4 attempts")
            return super().generate(prompts, decoding, seed)

    config = ABConfig(run=RunConfig(name="ab", root=tmp_path), likelihood=False)
    with pytest.raises(UserError) as caught:
        run_ab(config, Broken(reviewer))
    (log,) = tmp_path.glob("text_generation/*-ab/answers.jsonl")
    assert str(caught.value) == (
        f"http://x/v1 did not answer in 4 attempts. The answers so far are kept: repeat it with --log {log} to go on."
    )
    backend = ScriptedBackend(reviewer)
    run_ab(replace(config, log=log), backend)
    assert len(backend.asked) == 30


def test_inject_reports_both_sides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = InjectConfig(run=RunConfig(name="inject", root=tmp_path), defences=("none", "detector"))
    summary = run_inject(config, ScriptedBackend(lambda prompt: "I'm sorry, I can't help with that."))
    # Wilson's interval for 0 of 48 ends at z^2 / (n + z^2), that for 29 of 29 begins at n / (n + z^2); z is 1.96.
    assert (
        "none: 0 % [0, 7] of 48 attacks obeyed, 100 % [88, 100] of 29 benign texts refused, 0 of 77 cases unclear"
        in capsys.readouterr().out.splitlines()
    )
    assert summary["none_attack_success"] == 0
    assert summary["none_false_refusals"] == 1
    assert summary["detector_unclear"] == 0
    html = (tmp_path / "text_generation" / "latest" / "report.html").read_text()
    assert "false refusals" in html
    assert "area under the ROC curve" in html


@pytest.mark.parametrize(
    ("config_class", "arguments", "message"),
    [
        (PromptsConfig, ["show"], "show needs --template NAME; 'prompts list' lists the names"),
        (PromptsConfig, ["render", "--template", "a", "--values", "x"], "--values x: write it as NAME=VALUE"),
        (PromptsConfig, ["list", "--values", "x=1"], "--values goes with render: leave it out with list"),
        (ABConfig, ["--templates", "a"], "--templates names 1: a comparison needs two at least"),
        (ABConfig, ["--templates", "a", "a"], "--templates names one twice: compare different ones"),
        (
            ABConfig,
            ["--scorer", "none", "--likelihood", "False"],
            "--scorer none with --likelihood False leaves nothing to measure: choose one of them",
        ),
        (InjectConfig, ["--defences", "none", "none"], "--defences: 'none' is named twice"),
        (
            InjectConfig,
            ["--defences", "hope"],
            "--defences hope: unknown defence. Known: none, delimiting, datamarking, encoding, hierarchy, reminder, "
            "detector, output_check, layered",
        ),
    ],
)
def test_bad_settings(tmp_path: Path, config_class: type, arguments: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_config(config_class, arguments, prog="x", description="", configs=tmp_path, default=None)
    assert message in str(caught.value)
