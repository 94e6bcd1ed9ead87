"""`evaluate` and `microscope` through the command line: their figures, and mistakes that end in one line."""

import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from text_generation.backends.hf import HuggingFaceBackend
from text_generation.backends.types import Message
from text_generation.cli import main
from text_generation.config import EvaluateConfig, MicroscopeConfig, TextsConfig
from text_generation.config.decoding import DecodingConfig
from text_generation.decoding.microscope import look
from text_generation.decoding.microscope_page import render_page
from text_generation.evaluation.diversity_metrics import diversity, self_bleu
from text_generation.evaluation.given_texts import measure_known, measure_variety
from text_generation.evaluation.ngram_baseline import NgramBaseline, compressed_bits_per_byte
from text_generation.evaluation.perplexity_calculator import measure_perplexity

LINES = ["the cat sat on the mat", "the dog ran to the sea", "a fox slept; the cat did not", "你好 🙂 the end"]
TEXTS = [f"{line}\n" for line in LINES]
"""As the reader hands them on."""

TRAIN = ["the cat ran to the mat", "a dog slept on the sea", LINES[0]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random GPT-2 with 32 positions."""
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(LINES * 3, vocab_size=300, special_tokens=["<|end|>"], show_progress=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, bos_token="<|end|>", eos_token="<|end|>")
    torch.manual_seed(0)
    shape = GPT2Config(
        vocab_size=len(tokenizer), n_positions=32, n_embd=32, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0,
        initializer_range=0.3,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("model")
    GPT2LMHeadModel(shape).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def backend(model: Path) -> HuggingFaceBackend:
    return HuggingFaceBackend.load(str(model), device="cpu", batch_size=4)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """The texts as JSON lines, with two rows that cannot be used."""
    path = tmp_path / "texts.jsonl"
    rows = [json.dumps({"text": line}) for line in LINES]
    path.write_text("\n".join([*rows[:2], '{"text": 3}', *rows[2:], "{broken"]) + "\n", encoding="utf-8")
    return path


def summary_of(root: Path) -> dict[str, Any]:
    return json.loads((root / "text_generation" / "latest" / "summary.json").read_text())


def on(model: Path, root: Path) -> list[str]:
    return ["--backend.model", str(model), "--backend.device", "cpu", "--run.root", str(root)]


def test_the_figures_are_those_of_the_calculators(
    model: Path, backend: HuggingFaceBackend, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = tmp_path / "train.txt"
    train.write_text("<|endoftext|>".join(TRAIN), encoding="utf-8")
    flags = ["--window", "8", "--stride", "3", "--ngram_path", str(train), "--ngram_order", "3"]
    assert main(["evaluate", "--data.path", str(texts), *flags, *on(model, tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "passed over: texts.jsonl:3: no text in 'text'\npassed over: texts.jsonl:6: no JSON (" in said
    assert f"{texts}: 4 documents, 0.00 MB\n" in said
    summary = summary_of(tmp_path)
    found = measure_perplexity(backend.network, backend.tokenizer, TEXTS, window=8, stride=3)
    interval = found.bits_per_byte_interval()
    ngram = NgramBaseline(
        [f"{line}\n" for line in TRAIN], order=3, encode=backend.encode, vocab_size=len(backend.tokenizer)
    ).score(TEXTS)
    expected = {
        "bits_per_byte": found.bits_per_byte,
        "bits_per_byte_low": interval.low,
        "bits_per_byte_high": interval.high,
        "perplexity_per_token": found.per_token,
        "perplexity_per_word": found.per_word,
        "perplexity_per_byte": found.per_byte,
        "bits_per_character": found.bits_per_character,
        "baseline_gzip": compressed_bits_per_byte("".join(TEXTS), "gzip"),
        "baseline_ngram": ngram.bits_per_byte,
        "better_than_ngram": ngram.bits_per_byte - found.bits_per_byte,
    }
    assert {name: summary[name] for name in expected} == pytest.approx(expected, rel=1e-6)
    assert summary["better_than_ngram_low"] <= summary["better_than_ngram"] <= summary["better_than_ngram_high"]
    counts = {name: summary[name] for name in ("n_documents", "n_rejected", "n_seen_by_ngram", "window", "stride")}
    assert counts == {"n_documents": 4, "n_rejected": 2, "n_seen_by_ngram": 1, "window": 8, "stride": 3}
    assert summary["n_bytes"] == sum(len(text.encode()) for text in TEXTS)
    assert next(name for name in summary if name not in ("project", "command", "config", "seed", "seconds",
                                                         "peak_memory_mb")) == "bits_per_byte"  # fmt: skip
    varied = diversity(TEXTS)
    for name in ("distinct_1", "distinct_2", "distinct_3", "distinct_2_per_document", "self_bleu", "seq_rep_4",
                 "compression_ratio"):  # fmt: skip
        assert summary[name] == pytest.approx(getattr(varied, name)), name

    folder = tmp_path / "text_generation" / "latest"
    rows = [json.loads(line) for line in (folder / "documents.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["source"] for row in rows] == [f"texts.jsonl:{line}" for line in (1, 2, 4, 5)]
    bits = [text.nats / math.log(2) / text.n_bytes for text in found.texts]
    assert [row["bits_per_byte"] for row in rows] == pytest.approx(bits, rel=1e-6)
    page = (folder / "report.html").read_text(encoding="utf-8")
    for part in ("How probable the model finds them", "How varied they are", "What was left out", "texts.jsonl:3",
                 "Gao et al. 2020", "Shaib et al. 2024", "1 of the documents can be found word for word"):  # fmt: skip
        assert part in page


def test_diversity_alone_needs_no_model(texts: Path, tmp_path: Path) -> None:
    flags = ["--perplexity", "False", "--backend.kind", "openai", "--data.max_documents", "3"]
    assert main(["evaluate", "--data.path", str(texts), *flags, "--run.root", str(tmp_path)]) == 0
    summary = summary_of(tmp_path)
    assert summary["distinct_2"] == pytest.approx(diversity(TEXTS[:3]).distinct_2)
    assert summary["n_documents"] == 3
    assert "bits_per_byte" not in summary
    assert not (tmp_path / "text_generation" / "latest" / "documents.jsonl").exists()


def test_one_document_has_figures_and_no_interval(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "one.txt"
    path.write_text(LINES[0], encoding="utf-8")
    assert main(["evaluate", "--data.path", str(path), *on(model, tmp_path)]) == 0
    summary = summary_of(tmp_path)
    assert summary["bits_per_byte"] > 0
    assert "bits_per_byte_low" not in summary
    page = (tmp_path / "text_generation" / "latest" / "report.html").read_text(encoding="utf-8")
    assert "One document alone has no interval" in page


def test_self_bleu_is_measured_on_a_sample_and_the_rest_on_all() -> None:
    found = measure_variety(TEXTS, self_bleu_documents=2, seed=5)
    assert found.self_bleu == self_bleu(random.Random(5).sample(TEXTS, 2))
    assert found.n_self_bleu == 2
    assert found.distinct[1] == diversity(TEXTS).distinct_1
    # "the cat the cat": 2 of 4 words, 2 of 3 pairs, 2 of 2 triples; "a b": all; no triple to count.
    by_hand = measure_variety(["the cat the cat", "a b"])
    assert by_hand.distinct_per_document == pytest.approx({1: 0.75, 2: (2 / 3 + 1) / 2, 3: 1.0})
    assert by_hand.distinct == pytest.approx({1: 4 / 6, 2: 3 / 4, 3: 1.0})
    assert by_hand.n_words == 6
    with pytest.raises(ValueError, match="give a list of texts, not one string"):
        measure_variety("one text")


def test_the_lead_over_the_ngram_model_is_the_difference_of_both(backend: HuggingFaceBackend) -> None:
    known = measure_known(backend, TEXTS, train=TRAIN, order=2)
    assert known.ngram is not None
    assert known.saved is not None
    assert known.saved.estimate == pytest.approx(known.ngram.bits_per_byte - known.perplexity.bits_per_byte)
    # The bootstrap by hand, with the spread of many resamples of its own.
    draws = np.random.default_rng(9).integers(0, len(TEXTS), (20_000, len(TEXTS)))
    bits = (known.ngram.nats - np.array([text.nats for text in known.perplexity.texts])) / np.log(2)
    resampled = bits[draws].sum(axis=1) / known.ngram.n_bytes[draws].sum(axis=1)
    width = float(np.ptp(np.quantile(resampled, [0.025, 0.975])))
    assert known.saved.high - known.saved.low == pytest.approx(width, rel=0.25)


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (
            ["--backend.kind", "openai"],
            "--backend.kind openai: perplexity needs a local model, since only there the probability of a given text "
            "is known. Take --backend.kind hf, or measure diversity alone with --perplexity False",
        ),
        (
            ["--perplexity", "False", "--ngram_path", "train.txt"],
            "--ngram_path needs the model's tokens: leave it out with --perplexity False, or leave that out",
        ),
        (["--ngram_path", "nowhere.txt"], "--ngram_path nowhere.txt: there is no such file or folder"),
        (["--window", "1"], "--window 1 must be at least 2 tokens: one to predict, and one before it"),
        (["--window", "4", "--stride", "4"], "--stride 4 must be below --window 4"),
        (["--window", "64"], "window 64 is longer than the model's context of 32 tokens: give at most that"),
    ],
)
def test_a_mistake_in_evaluate_is_one_line(
    model: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], problem: str
) -> None:
    assert main(["evaluate", "--data.path", str(texts), *on(model, tmp_path / "runs"), *flags]) == 2
    assert capsys.readouterr().err == f"text-generation evaluate: {problem}\n"
    assert not list((tmp_path / "runs").rglob("report.html"))


def test_texts_that_cannot_be_used(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text('{"text": " "}\n', encoding="utf-8")
    assert main(["evaluate", "--data.path", str(empty), *on(model, tmp_path / "runs")]) == 2
    said = capsys.readouterr()
    assert said.out == "passed over: empty.jsonl:1: no text\n"
    assert said.err == f"text-generation evaluate: {empty}: holds no document that can be used\n"


@pytest.mark.parametrize("chat", [False, True])
def test_the_page_is_that_of_the_microscope(
    model: Path, backend: HuggingFaceBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str], chat: bool
) -> None:
    settings = ["--decoding.temperature", "0.7", "--decoding.top_k", "50", "--decoding.max_new_tokens", "5"]
    flags = [*settings, "--beam_tokens", "3", "--candidates", "4", "--run.seed", "7", "--chat", str(chat)]
    assert main(["microscope", "the cat", *flags, *on(model, tmp_path)]) == 0
    decoding = DecodingConfig(temperature=0.7, top_k=50, top_p=0.9, max_new_tokens=5)
    prompt = [Message("user", "the cat")] if chat else "the cat"
    backend.name = str(model)
    seen = look(backend, prompt, decoding, seed=7, candidates=4, beam_tokens=3)
    (page,) = (tmp_path / "text_generation").glob("2*/microscope.html")
    assert page.read_text(encoding="utf-8") == render_page(seen)
    assert f"microscope: {page}\n" in capsys.readouterr().out
    summary = summary_of(tmp_path)
    assert summary["text"] == seen.generation.text
    assert summary["n_tokens"] == seen.generation.new_tokens
    assert seen.generation.logprob is not None
    nats = -seen.generation.logprob / seen.generation.new_tokens
    assert summary["perplexity"] == pytest.approx(math.exp(nats), rel=1e-6)


def test_without_a_number_the_answer_takes_the_room_that_there_is(model: Path, tmp_path: Path) -> None:
    prompt = "the cat sat on the mat the cat sat on the mat"
    assert main(["microscope", prompt, "--beam_tokens", "1", *on(model, tmp_path)]) == 0
    assert 0 < summary_of(tmp_path)["n_tokens"] <= 32


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([""], 'the prompt is empty: say what the model goes on with, as in microscope "Once upon a time"'),
        (["a \udcff"], "the prompt is not UTF-8 text: type it again, in a terminal that is set to UTF-8"),
        (
            ["the cat", "--backend.kind", "openai"],
            "--backend.kind openai: the microscope needs a local model, since it looks at the probability of every "
            "token. Take --backend.kind hf",
        ),
        (
            ["the cat", "--decoding.strategy", "beam_search"],
            "--decoding.strategy beam_search: the microscope follows one answer. Take greedy or sampling; a beam "
            "search is shown beside it",
        ),
    ],
)
def test_a_mistake_in_microscope_is_one_line(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str
) -> None:
    assert main(["microscope", *arguments, *on(model, tmp_path)]) == 2
    assert capsys.readouterr().err == f"text-generation microscope: {problem}\n"


@pytest.mark.parametrize("limit", [[], ["--decoding.max_new_tokens", "6"]])
def test_a_prompt_that_does_not_fit_is_one_line(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], limit: list[str]
) -> None:
    assert main(["microscope", "xyzwv " * 20, *limit, *on(model, tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("text-generation microscope: prompt 1 of 1 has ")
    assert f"the 32 tokens of {model}'s context" in said
    assert said.count("\n") == 1
    assert not list(tmp_path.rglob("summary.json"))


@pytest.mark.parametrize("command", ["evaluate", "microscope"])
def test_help_needs_no_required_setting(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert "--backend.model" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: TextsConfig(path=Path("x"), separator=" "), "--data.separator is blank"),
        (lambda: TextsConfig(path=Path("x"), max_documents=0), "--data.max_documents 0 must be at least 1, or None"),
        (lambda: EvaluateConfig(data=TextsConfig(path=Path("x")), stride=0), "--stride 0 must be at least 1"),
        (lambda: EvaluateConfig(data=TextsConfig(path=Path("x")), ngram_order=0), "--ngram_order 0 must be at least 1"),
        (
            lambda: EvaluateConfig(data=TextsConfig(path=Path("x")), self_bleu_documents=1),
            "--self_bleu_documents 1 must be at least 2",
        ),
        (lambda: MicroscopeConfig(prompt="a", candidates=0), "--candidates 0 must be at least 1"),
        (lambda: MicroscopeConfig(prompt="a", beam_tokens=0), "--beam_tokens 0 must be at least 1"),
    ],
)
def test_settings_out_of_range_name_their_flag(make: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        make()
