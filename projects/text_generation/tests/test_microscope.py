"""The microscope: its figures against brute force, its beams against transformers, its page in a browser."""

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from text_generation.backends.hf import HuggingFaceBackend
from text_generation.config.decoding import BEAM_SEARCH, GREEDY, DecodingConfig
from text_generation.decoding.beam_picture import beam_picture, winning_candidates
from text_generation.decoding.beam_trace import trace_beam_search
from text_generation.decoding.microscope import END, Microscope, filters_of, look
from text_generation.decoding.microscope_page import percent, render_page, tint, visible

PROMPT = "the <b>cat</b> & dog"
SAMPLED = DecodingConfig(temperature=0.7, top_p=0.8, max_new_tokens=10)


@pytest.fixture(scope="module")
def backend() -> HuggingFaceBackend:
    bpe = ByteLevelBPETokenizer()
    lines = ["the cat sat on the mat <script>alert(1)</script> & \n\t 你好"] * 3
    bpe.train_from_iterator(lines, vocab_size=300, special_tokens=["<|end|>"], show_progress=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, eos_token="<|end|>")
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=64, n_embd=32, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0,
        initializer_range=0.3,
    )  # fmt: skip
    return HuggingFaceBackend(GPT2LMHeadModel(config), tokenizer, name="<i>tiny</i>")


@pytest.fixture(scope="module")
def microscope(backend: HuggingFaceBackend) -> Microscope:
    return look(backend, PROMPT, SAMPLED, seed=4, beam_tokens=5)


def test_every_step_shows_the_models_own_distribution(backend: HuggingFaceBackend, microscope: Microscope) -> None:
    tokens = backend.trace(PROMPT, SAMPLED, 4, lambda rows, new_tokens, logits: logits).tokens
    assert microscope.generation == backend.generate([PROMPT], SAMPLED, seed=4)[0]
    ids = backend.encode(PROMPT)
    for index, (step, token) in enumerate(zip(microscope.steps, tokens, strict=False)):
        with torch.no_grad():
            logits = backend.network(input_ids=torch.tensor([ids + tokens[:index]])).logits[0, -1].double()
        p = logits.softmax(-1)
        q = (logits / 0.7).softmax(-1)
        assert step.probability == pytest.approx(float(p[token]), rel=1e-4)
        assert step.tempered == pytest.approx(float(q[token]), rel=1e-4)
        assert step.rank == 1 + int((p > p[token]).sum())
        assert step.entropy == pytest.approx(float(-(p * p.log2()).sum()), rel=1e-4)
        # Each filter alone, by its definition, on the tempered distribution.
        ordered = sorted(q.tolist(), reverse=True)
        nucleus = next(n for n in range(1, len(ordered) + 1) if sum(ordered[:n]) >= 0.8)
        assert step.kept[:3] == (50, nucleus, sum(value >= 0.1 * ordered[0] for value in ordered))
        assert step.mass[1] == pytest.approx(sum(ordered[:nucleus]), rel=1e-4)
        assert step.chosen_kept[1]  # it was drawn from the nucleus
        assert [c.chosen for c in step.candidates].count(True) == 1
        shown = [candidate.probability for candidate in step.candidates[:12]]
        assert shown == pytest.approx(sorted(p.tolist(), reverse=True)[:12], rel=1e-4)
    assert sum(math.log(step.probability) for step in microscope.steps if step.token != END) == pytest.approx(
        microscope.generation.logprob, rel=1e-4
    )


def test_the_token_that_ends_an_answer_is_shown(backend: HuggingFaceBackend) -> None:
    free = replace(SAMPLED, temperature=2.0, top_p=1.0, max_new_tokens=40)
    found = [look(backend, PROMPT, free, seed=seed, beam_tokens=1) for seed in range(6)]
    ended = [each for each in found if each.generation.finish_reason == "stop"]
    assert ended
    for each in ended:
        assert each.steps[-1].token == END
        assert len(each.steps) == each.generation.new_tokens + 1


def test_filters_take_the_values_that_are_set() -> None:
    assert list(filters_of(DecodingConfig())) == ["top-k 50", "top-p 0.9", "min-p 0.1", "typical 0.9"]
    assert list(filters_of(DecodingConfig(top_k=5, min_p=0.2)))[::2] == ["top-k 5", "min-p 0.2"]


def test_beam_search_has_no_single_choice(backend: HuggingFaceBackend) -> None:
    with pytest.raises(ValueError, match="the microscope follows one answer: use strategy greedy or sampling"):
        look(backend, PROMPT, BEAM_SEARCH)


@pytest.mark.parametrize("settings", [
    {}, {"num_beams": 1}, {"early_stopping": False}, {"length_penalty": 0.0, "early_stopping": False},
    {"length_penalty": 2.0}, {"repetition_penalty": 1.5, "no_repeat_ngram_size": 2}, {"num_beams": 7},
])  # fmt: skip
@pytest.mark.parametrize("prompt", ["the cat", PROMPT, "mat"])
def test_the_traced_search_finds_what_transformers_finds(
    backend: HuggingFaceBackend, prompt: str, settings: dict
) -> None:
    decoding = replace(BEAM_SEARCH, max_new_tokens=14, **settings)
    ids = torch.tensor([backend.encode(prompt)])
    config = GenerationConfig(
        do_sample=False, eos_token_id=0, pad_token_id=0, max_new_tokens=14, output_scores=True,
        return_dict_in_generate=True, num_beams=decoding.num_beams, early_stopping=decoding.early_stopping,
        length_penalty=decoding.length_penalty, repetition_penalty=decoding.repetition_penalty,
        no_repeat_ngram_size=decoding.no_repeat_ngram_size,
    )  # fmt: skip
    expected = backend.network.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)  # type: ignore[operator]
    tokens = expected.sequences[0, ids.shape[1] :].tolist()
    trace = trace_beam_search(backend.network, ids[0].tolist(), decoding, {0})
    n = len(trace.best)
    assert list(trace.best) == tokens[:n]
    assert set(tokens[n:]) <= {0}
    if decoding.num_beams > 1:
        assert trace.score == pytest.approx(float(expected.sequences_scores[0]), abs=1e-4)


def test_the_way_to_the_winner_is_its_tokens(microscope: Microscope) -> None:
    trace = microscope.beams
    way = winning_candidates(trace)
    tokens = [step[place].token for step, place in zip(trace.steps, way, strict=True) if place is not None]
    assert tokens == list(trace.best)
    picture = beam_picture(microscope)
    assert sum(box.wins for box in picture.boxes) == len(trace.best)
    for step in trace.steps[:-1]:
        assert sum(candidate.fate == "kept" for candidate in step) == 5


def test_small_texts() -> None:
    assert visible(" a\n\t") == "␣a⏎⇥"
    assert visible("") == "∅"
    assert [percent(p) for p in (1.0, 0.996, 0.123, 0.0123, 0.00123, 1e-9)] == [
        "100 %", "99+ %", "12 %", "1.2 %", "0.12 %", "<0.01 %",
    ]  # fmt: skip
    assert [tint(p) for p in (1.0, 0.1, 1e-3, 0.0)] == ["0", "33", "100", "100"]


def test_the_page_is_self_contained_and_escapes_everything(microscope: Microscope) -> None:
    page = render_page(microscope)
    assert "<script" not in page
    assert "<b>" not in re.sub(r"<b>[\d.,<+ %a-z&;]+</b>", "", page)
    assert "the &lt;b&gt;cat&lt;/b&gt; &amp; dog" in page
    assert "&lt;i&gt;tiny&lt;/i&gt;" in page
    assert not re.search(r"(src|href|url)\s*[=(]", page)
    assert page == render_page(microscope)


def test_a_greedy_answer_has_a_page_too(backend: HuggingFaceBackend) -> None:
    page = render_page(
        look(backend, "the cat", replace(GREEDY, max_new_tokens=3, repetition_penalty=1.2), beam_tokens=2)
    )
    assert "strategy greedy, max_new_tokens 3, repetition_penalty 1.2" in page
    assert "at temperature" not in page


CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator:
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def test_the_arrow_keys_walk_through_the_tokens(browser, microscope: Microscope, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(render_page(microscope), encoding="utf-8")
    for width in (1200, 390):
        page = browser.new_page(viewport={"width": width, "height": 800}, java_script_enabled=False)
        page.goto(path.as_uri())
        assert page.locator(".panel:visible").get_attribute("id") == "p1"
        page.locator("label:has(#t3)").click()
        page.keyboard.press("ArrowRight")
        assert page.locator(".panel:visible").get_attribute("id") == "p4"
        body = page.locator("main").bounding_box()
        assert body is not None
        assert body["width"] <= width
        page.close()
