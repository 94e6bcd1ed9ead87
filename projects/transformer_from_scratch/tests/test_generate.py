"""Decoding, against the plainest loop that there is: the whole window through the model for every single token."""

from itertools import islice
from typing import Any

import pytest
import torch

from roadmap_shared.errors import UserError
from transformer_from_scratch.config import GenerateConfig, ModelConfig, SamplingConfig
from transformer_from_scratch.generate import generate, stream, stream_text, until
from transformer_from_scratch.models import DecoderLM
from transformer_from_scratch.prompt_lookup import generate_by_lookup
from transformer_from_scratch.sampling import choose
from transformer_from_scratch.tokenizers import ByteBPETokenizer

VOCAB_SIZE, CONTEXT = 23, 16
PROMPTS = [[3, 1, 4, 1, 5], [9], [2, 6, 5, 3, 5, 8, 9, 7], [9, 3]]
MODELS: dict[str, dict[str, Any]] = {
    "rotary": {},
    "learned": {"positions": "learned", "bias": True},
    "sinusoidal": {"positions": "sinusoidal", "norm_position": "post"},
    "alibi": {"positions": "alibi"},
    "no positions": {"positions": "none"},
    "grouped queries": {"n_kv_heads": 1, "qk_norm": True, "norm": "rms", "activation": "swiglu"},
    "n-grams": {"ngram_orders": (2, 3), "ngram_width": 8},
    "experts": {"n_experts": 4},
    "tied": {"tie_embeddings": True, "scale_embeddings": True},
}


def build(**settings: Any) -> DecoderLM:
    """A random model whose next token depends on all before: large weights, and no head that favours repetition."""
    shape: dict[str, Any] = {"n_layers": 2, "d_model": 24, "n_heads": 2, "d_hidden": 48, "context": CONTEXT}
    shape["tie_embeddings"] = False
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = DecoderLM(ModelConfig(**shape | settings), VOCAB_SIZE).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter *= 2
            if model.ngrams is not None:
                for table in model.ngrams.tables.parameters():  # fresh ones are zero and would add nothing
                    table.normal_()
    return model


@torch.no_grad()
def one_by_one(model: DecoderLM, prompt: list[int], n_new: int, end_token: int | None = None) -> list[int]:
    """Greedy decoding without cache, padding or batch."""
    new: list[int] = []
    while len(new) < n_new and end_token not in new:
        window = (prompt + new)[-CONTEXT:]
        new.append(int(model(torch.tensor([window]))[0, -1].argmax()))
    return new


class Passes:
    """Counts a model's forward passes and the tokens each was given."""

    def __init__(self, model: DecoderLM) -> None:
        self.widths: list[int] = []
        model.tokens.register_forward_hook(lambda _, inputs, __: self.widths.append(inputs[0].shape[1]))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("n_new", [8, 14])  # 14: the window has to slide
def test_a_batch_continues_each_prompt_as_if_alone(name: str, use_cache: bool, n_new: int) -> None:
    model = build(**MODELS[name])
    expected = [one_by_one(model, prompt, n_new) for prompt in PROMPTS]
    assert len({tuple(tokens) for tokens in expected}) > 1
    assert generate(model, PROMPTS, max_new_tokens=n_new, use_cache=use_cache) == expected


@pytest.mark.parametrize("length", [CONTEXT - 1, CONTEXT, CONTEXT + 5])
def test_of_a_long_prompt_the_last_tokens_are_read(length: int) -> None:
    model = build()
    prompt = [(5 * i + i // 3) % VOCAB_SIZE for i in range(length)]
    assert generate(model, [prompt], max_new_tokens=4) == [one_by_one(model, prompt, 4)]


def test_the_cache_spares_every_token_a_second_reading() -> None:
    model = build()
    passes = Passes(model)
    generate(model, PROMPTS, max_new_tokens=8)
    assert passes.widths == [8, 1, 1, 1, 1, 1, 1, 1]


def test_a_full_window_is_read_anew_at_each_step() -> None:
    model = build()
    passes = Passes(model)
    generate(model, [[1] * 14], max_new_tokens=5)
    assert passes.widths == [14, 1, 1, 16, 16]


def test_rows_end_with_the_end_token_and_the_others_go_on() -> None:
    model = build()
    plain = [one_by_one(model, prompt, 8) for prompt in PROMPTS]
    end_token = plain[0][3]
    expected = [one_by_one(model, prompt, 8, end_token) for prompt in PROMPTS]
    assert len(expected[0]) < 8
    assert any(len(tokens) == 8 for tokens in expected)
    assert generate(model, PROMPTS, max_new_tokens=8, end_token=end_token) == expected
    steps = list(stream(model, PROMPTS, max_new_tokens=8, end_token=end_token))
    assert [step[0] for step in steps] == expected[0] + [None] * (8 - len(expected[0]))


def test_decoding_stops_when_all_rows_have_ended() -> None:
    model = build()
    prompt = PROMPTS[0]
    end_token = one_by_one(model, prompt, 3)[-1]
    expected = one_by_one(model, prompt, 99, end_token)
    passes = Passes(model)
    assert generate(model, [prompt, prompt], max_new_tokens=99, end_token=end_token) == [expected, expected]
    assert len(passes.widths) == len(expected)


@pytest.mark.parametrize("use_cache", [True, False])
def test_sampling_draws_from_the_models_distribution(use_cache: bool) -> None:
    model = build()
    sampling = SamplingConfig(temperature=1.3, top_k=10)

    def draw(seed: int) -> list[list[int]]:
        generator = torch.Generator().manual_seed(seed)
        return generate(model, PROMPTS, max_new_tokens=12, sampling=sampling, generator=generator, use_cache=use_cache)

    generator = torch.Generator().manual_seed(1)
    rows = [list(prompt) for prompt in PROMPTS]
    for _ in range(12):
        with torch.no_grad():
            logits = torch.cat([model(torch.tensor([row[-CONTEXT:]]))[:, -1] for row in rows])
        for row, token in zip(rows, choose(logits, sampling, generator).tolist(), strict=True):
            row.append(token)
    assert draw(1) == [row[len(prompt) :] for row, prompt in zip(rows, PROMPTS, strict=True)]
    assert draw(1) != draw(2)


def test_a_stream_makes_each_token_only_when_it_is_asked_for() -> None:
    model = build()
    passes = Passes(model)
    steps = stream(model, [[1, 2]], max_new_tokens=8)
    assert len(passes.widths) == 0
    assert [token for (token,) in islice(steps, 2)] == one_by_one(build(), [1, 2], 2)
    assert len(passes.widths) == 2


def test_dropout_is_off_while_decoding_and_back_on_afterwards() -> None:
    model = build(dropout=0.5).train()
    assert generate(model, [[1, 2]], max_new_tokens=8) == [one_by_one(build(), [1, 2], 8)]
    assert model.training
    steps = stream(model, [[1, 2]], max_new_tokens=8)
    next(steps)
    assert not model.training
    steps.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert model.training


@pytest.mark.parametrize(
    ("prompts", "n_new", "message"),
    [
        ([], 3, "there is no prompt to continue: give at least one"),
        ([[1], []], 3, "prompt 2 is empty: it needs at least one token"),
        (
            [[1, 23]],
            3,
            "prompt 1 has tokens 1 to 23, but the model knows 0 to 22: was the prompt made by another tokenizer?",
        ),
        (
            [[-1, 4]],
            3,
            "prompt 1 has tokens -1 to 4, but the model knows 0 to 22: was the prompt made by another tokenizer?",
        ),
        ([[1]], 0, "max_new_tokens 0 must be at least 1"),
    ],
)
def test_prompts_that_cannot_be_continued_are_refused_at_once(
    prompts: list[list[int]], n_new: int, message: str
) -> None:
    with pytest.raises(UserError) as error:
        stream(build(), prompts, max_new_tokens=n_new)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["one", " two", " three"], "one two three"),
        (["one EN", "D two"], "one "),
        (["one E", "N", "END two"], "one EN"),
        (["ENEND"], "EN"),
        (["one E", "N"], "one EN"),
        (["END one"], ""),
        ([], ""),
    ],
)
def test_a_text_ends_before_the_stop_text_however_it_is_cut(pieces: list[str], expected: str) -> None:
    assert "".join(until(pieces, "END")) == expected


def test_text_that_cannot_be_the_stop_text_is_not_held_back() -> None:
    assert list(islice(until(["one E", "at EN", "D x"], "END"), 2)) == ["one ", "Eat "]


def test_streamed_text_is_the_decoded_continuation() -> None:
    tokenizer = ByteBPETokenizer([])  # single bytes: a random model makes broken characters
    torch.manual_seed(0)
    model = DecoderLM(ModelConfig(n_layers=1, d_model=16, n_heads=2, d_hidden=16, context=40), 256)
    config = GenerateConfig(temperature=1.0, length=30)
    (tokens,) = generate(
        model,
        [tokenizer.encode("Grüße")],
        max_new_tokens=30,
        sampling=config,
        generator=torch.Generator().manual_seed(3),
    )
    text = tokenizer.decode(tokens)
    assert "\ufffd" in text

    def streamed(**settings: Any) -> str:
        generator = torch.Generator().manual_seed(3)
        config = GenerateConfig(temperature=1.0, length=30, **settings)
        return "".join(stream_text(model, tokenizer, "Grüße", config, generator=generator))

    assert streamed() == text
    assert streamed(stop=text[8:10]) == text.partition(text[8:10])[0]


@pytest.mark.parametrize("name", ["rotary", "learned", "n-grams", "grouped queries"])
@pytest.mark.parametrize("n_new", [9, 30])  # 30: beyond the context
def test_prompt_lookup_gives_the_greedy_tokens(name: str, n_new: int) -> None:
    model = build(**MODELS[name])
    for prompt in PROMPTS:
        expected = one_by_one(model, prompt, n_new)
        # One token that must match finds many guesses, of which most are wrong.
        assert generate_by_lookup(model, prompt, max_new_tokens=n_new, n_match=1, n_guessed=4) == expected
        end_token = expected[5]
        assert generate_by_lookup(model, prompt, max_new_tokens=n_new, end_token=end_token, n_match=1) == one_by_one(
            model, prompt, n_new, end_token
        )


def test_prompt_lookup_needs_fewer_passes_where_the_text_repeats_itself() -> None:
    # Without attention and feed-forward a tied model repeats its last token: a text of period 1.
    model = build(positions="none", context=64, tie_embeddings=True)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("attention.output.weight", "feed_forward.down.weight")):
                parameter.zero_()
    passes = Passes(model)
    assert generate_by_lookup(model, [5], max_new_tokens=40, n_match=3, n_guessed=9) == [5] * 40
    # 3 single tokens until the newest three have occurred before, then 10 a pass.
    assert len(passes.widths) == 3 + 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -1.0}, "--temperature -1.0 must be a finite number of at least 0"),
        ({"temperature": float("nan")}, "--temperature nan must be a finite number of at least 0"),
        ({"top_k": 0}, "--top_k 0 must be at least 1"),
        ({"top_p": 0.0}, "--top_p 0.0 must be above 0 and at most 1"),
        ({"top_p": 1.01}, "--top_p 1.01 must be above 0 and at most 1"),
        ({"min_p": 1.5}, "--min_p 1.5 must lie between 0 and 1"),
        ({"length": 0}, "--length 0 must be at least 1"),
        ({"beams": 0}, "--beams 0 must be at least 1"),
        ({"beams": 2, "top_k": 5, "min_p": 0.1}, "--beams 2 draws nothing: leave out --top_k and --min_p"),
        ({"length_penalty": -0.5}, "--length_penalty -0.5 must be a finite number of at least 0"),
        ({"prompt": ()}, "--prompt must be one or more texts, none of them empty"),
        ({"prompt": ("a", "")}, "--prompt must be one or more texts, none of them empty"),
        ({"stop": ""}, "--stop must not be an empty text; leave it out to go on to --length"),
        ({"seed": -1}, "--seed -1 is outside 0 … 4294967295"),
        (
            {"checkpoint": "runs/x", "gpt2": "openai-community/gpt2"},
            "--checkpoint and --gpt2 exclude each other: give one of them",
        ),
    ],
)
def test_settings_out_of_range_name_their_flag(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        GenerateConfig(**settings)
    assert str(error.value) == message
