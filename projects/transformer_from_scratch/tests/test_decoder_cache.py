"""Decoding with a cache of keys and values gives what one pass over the whole text gives, in any split."""

from typing import TypeVar

import pytest
import torch
from torch import nn

from transformer_from_scratch.config import ModelConfig
from transformer_from_scratch.decoder_cache import DecoderCache
from transformer_from_scratch.models import DecoderLM, EncoderDecoder

Model = TypeVar("Model", bound=nn.Module)
VOCAB, CONTEXT = 17, 16
VARIANTS = {
    "sinusoidal": {"positions": "sinusoidal"},
    "learned": {"positions": "learned", "bias": True},
    "rotary": {"positions": "rotary", "n_kv_heads": 2},
    "alibi": {"positions": "alibi", "n_kv_heads": 1},
    "none": {"positions": "none"},
    "modern": {"norm": "rms", "activation": "swiglu", "qk_norm": True, "ngram_orders": (2, 3), "ngram_width": 6},
    "post-norm": {"norm_position": "post", "positions": "sinusoidal"},
    "experts": {"n_experts": 4},
}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def config_of(**options) -> ModelConfig:
    return ModelConfig(n_layers=2, d_model=24, n_heads=4, d_hidden=40, context=CONTEXT, **options)


def sharpened(model: Model) -> Model:
    """In float64, where 1e-12 tells a wrong meaning from a rounding; attention far from uniform."""
    for name, parameter in model.named_parameters():
        if ".query." in name or ".key." in name:
            parameter.data.mul_(1.5)
    return model.double().eval()


def cache_of(config: ModelConfig, batch_size: int, capacity: int = CONTEXT) -> DecoderCache:
    return DecoderCache(config, batch_size, capacity, dtype=torch.float64)


@torch.no_grad()
def in_chunks(model, cache, tokens, sizes, is_token=None):
    logits = []
    for chunk, real in zip(
        tokens.split(sizes, dim=1),
        [None] * len(sizes) if is_token is None else is_token.split(sizes, dim=1),
        strict=True,
    ):
        logits.append(model(chunk, is_token=real, cache=cache))
    return torch.cat(logits, dim=1)


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("sizes", [[9], [1] * 9, [5, 1, 1, 1, 1], [3, 4, 2]], ids=str)
def test_chunks_equal_one_pass(options, sizes):
    config = config_of(**options)
    model, tokens = sharpened(DecoderLM(config, VOCAB)), torch.randint(0, VOCAB, (2, 9))
    cache = cache_of(config, 2)
    cached = in_chunks(model, cache, tokens, sizes)
    assert cache.length == 9
    torch.testing.assert_close(cached, model(tokens), rtol=0, atol=1e-12)


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_prompts_of_mixed_lengths_equal_each_alone(options, side):
    """A padded prompt, then two steps and a chunk without padding, as in batched generation."""
    config = config_of(**options)
    model = sharpened(DecoderLM(config, VOCAB))
    lengths, width, n_more = (6, 3, 1), 6, 4
    texts = [torch.randint(0, VOCAB, (1, length + n_more)) for length in lengths]
    tokens = torch.randint(0, VOCAB, (3, width + n_more))  # the padding is no special token
    is_token = torch.zeros(3, width, dtype=torch.bool)
    for row, (length, text) in enumerate(zip(lengths, texts, strict=True)):
        place = slice(width - length, width) if side == "left" else slice(0, length)
        tokens[row, place] = text[0, :length]
        is_token[row, place] = True
        tokens[row, width:] = text[0, length:]

    cache = cache_of(config, 3)
    with torch.no_grad():
        prompt = model(tokens[:, :width], is_token=is_token, cache=cache)
    continued = in_chunks(model, cache, tokens[:, width:], [1, 1, 2])
    for row, (length, text) in enumerate(zip(lengths, texts, strict=True)):
        expected = model(text)[0]
        actual = torch.cat((prompt[row][is_token[row]], continued[row]))
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)
        assert cache.positions[row, width : width + n_more].tolist() == list(range(length, length + n_more))


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_a_prompt_with_padding_may_come_in_chunks(options):
    config = config_of(**options)
    model, text = sharpened(DecoderLM(config, VOCAB)), torch.randint(0, VOCAB, (1, 5))
    tokens = torch.randint(0, VOCAB, (2, 8))
    tokens[0, 3:] = text[0]  # the first chunk is padding alone
    is_token = torch.ones(2, 8, dtype=torch.bool)
    is_token[0, :3] = False
    logits = in_chunks(model, cache_of(config, 2), tokens, [2, 3, 3], is_token)
    torch.testing.assert_close(logits[:1, 3:], model(text), rtol=0, atol=1e-12)
    torch.testing.assert_close(logits[1:], model(tokens[1:]), rtol=0, atol=1e-12)


def test_padding_may_come_after_tokens_without():
    config = config_of(ngram_orders=(2, 3), ngram_width=6)
    model, tokens = sharpened(DecoderLM(config, VOCAB)), torch.randint(0, VOCAB, (1, 7))
    is_token = torch.tensor([[True, False, True]])
    cache = cache_of(config, 1)
    in_chunks(model, cache, tokens[:, :3], [3])
    logits = in_chunks(model, cache, tokens[:, 3:6], [3], is_token)
    logits = torch.cat((logits[is_token][None], in_chunks(model, cache, tokens[:, 6:], [1])), dim=1)
    expected = model(tokens[:, [0, 1, 2, 3, 5, 6]])[:, 3:]
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-12)


def test_attention_maps_with_a_cache_reach_all_keys():
    config = config_of()
    model, tokens = sharpened(DecoderLM(config, VOCAB)), torch.randint(0, VOCAB, (1, 5))
    whole: list[torch.Tensor] = []
    model(tokens, attention_maps=whole)
    cache, step = cache_of(config, 1), []
    in_chunks(model, cache, tokens[:, :4], [4])
    with torch.no_grad():
        model(tokens[:, 4:], cache=cache, attention_maps=step)
    for one, all_queries in zip(step, whole, strict=True):
        torch.testing.assert_close(one, all_queries[:, :, 4:], rtol=0, atol=1e-12)


def test_reorder_continues_the_chosen_rows():
    config = config_of(ngram_orders=(2, 3), ngram_width=6)
    model = sharpened(DecoderLM(config, VOCAB))
    tokens, rows = torch.randint(0, VOCAB, (3, 6)), torch.tensor([2, 2, 0])
    is_token = torch.tensor([[False, True, True, True], [True] * 4, [False, False, True, True]])
    more = torch.randint(0, VOCAB, (3, 2))
    cache = cache_of(config, 3)
    in_chunks(model, cache, tokens[:, :4], [4], is_token)
    cache.reorder(rows)
    reordered = in_chunks(model, cache, more, [1, 1])
    fresh = cache_of(config, 3)
    in_chunks(model, fresh, tokens[rows, :4], [4], is_token[rows])
    torch.testing.assert_close(reordered, in_chunks(model, fresh, more, [1, 1]), rtol=0, atol=1e-12)


# --- encoder-decoder ------------------------------------------------------------------------------

SOURCE_IS_TOKEN = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])


def encoder_decoder(**options) -> tuple[EncoderDecoder, ModelConfig]:
    config = config_of(n_kv_heads=2, qk_norm=True, **options)
    return sharpened(EncoderDecoder(config, VOCAB)), config


@pytest.mark.parametrize("positions", ["sinusoidal", "rotary", "alibi"])
@pytest.mark.parametrize("sizes", [[1] * 6, [2, 3, 1]], ids=str)
@pytest.mark.parametrize("n_source", [None, 5], ids=["source projected each time", "source cached"])
def test_cached_decoding_of_an_encoder_decoder(positions, sizes, n_source):
    model, config = encoder_decoder(positions=positions)
    source, target = torch.randint(0, VOCAB, (2, 5)), torch.randint(0, VOCAB, (2, 6))
    cache = DecoderCache(config, 2, 6, n_source=n_source, dtype=torch.float64)
    with torch.no_grad():
        memory = model.encode(source, SOURCE_IS_TOKEN)
        steps = [model.decode(chunk, memory, SOURCE_IS_TOKEN, cache=cache) for chunk in target.split(sizes, dim=1)]
        expected = model(source, target, SOURCE_IS_TOKEN)
    torch.testing.assert_close(torch.cat(steps, dim=1), expected, rtol=0, atol=1e-12)


def test_a_cached_source_is_read_once():
    model, config = encoder_decoder()
    source, target = torch.randint(0, VOCAB, (2, 5)), torch.randint(0, VOCAB, (2, 2))
    cache = DecoderCache(config, 2, 6, n_source=5, dtype=torch.float64)
    with torch.no_grad():
        memory = model.encode(source)
        model.decode(target[:, :1], memory, cache=cache)
        second = model.decode(target[:, 1:], torch.full_like(memory, torch.nan), cache=cache)
    torch.testing.assert_close(second, model(source, target)[:, 1:], rtol=0, atol=1e-12)


@pytest.mark.parametrize("same_source", [False, True])
def test_reorder_of_an_encoder_decoder(same_source):
    """Beams of one text keep their source where it is; other rows take theirs along."""
    model, config = encoder_decoder()
    source, target = torch.randint(0, VOCAB, (3, 5)), torch.randint(0, VOCAB, (3, 4))
    if same_source:
        source = source[:1].repeat(3, 1)
    rows = torch.tensor([1, 1, 0])
    cache = DecoderCache(config, 3, 4, n_source=5, dtype=torch.float64)
    with torch.no_grad():
        memory = model.encode(source)
        model.decode(target[:, :3], memory, cache=cache)
        before = [layer.keys for layer in cache.source_layers or []]
        cache.reorder(rows, same_source=same_source)
        after = [layer.keys for layer in cache.source_layers or []]
        last = model.decode(target[:, 3:], memory[rows], cache=cache)
    texts = torch.cat((target[rows, :3], target[:, 3:]), dim=1)
    torch.testing.assert_close(last, model(source[rows], texts)[:, 3:], rtol=0, atol=1e-12)
    assert all((old is new) == same_source for old, new in zip(before, after, strict=True))


# --- precision and limits -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_cache_in_the_models_precision(dtype):
    config = config_of()
    model = DecoderLM(config, VOCAB).to(dtype).eval()
    tokens = torch.randint(0, VOCAB, (1, 4))
    cache = DecoderCache(config, 1, 4, dtype=dtype)
    logits = in_chunks(model, cache, tokens, [3, 1])
    assert logits.dtype == dtype
    torch.testing.assert_close(logits, model(tokens), rtol=0, atol=8 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("with_padding", [False, True])
def test_more_than_the_cache_holds_is_refused(with_padding):
    config = config_of()
    model, cache = sharpened(DecoderLM(config, VOCAB)), cache_of(config, 1, capacity=5)
    is_token = torch.tensor([[False, True, True, True]]) if with_padding else None
    tokens = torch.randint(0, VOCAB, (1, 6))
    in_chunks(model, cache, tokens[:, :4], [4], is_token)
    with pytest.raises(ValueError, match=r"^the key/value cache holds 5 positions, 6 were asked for$"):
        in_chunks(model, cache, tokens[:, 4:], [2])


def test_a_cache_larger_than_the_context_does_not_extend_it():
    config = config_of(positions="rotary")
    model, cache = sharpened(DecoderLM(config, VOCAB)), cache_of(config, 1, capacity=CONTEXT + 4)
    in_chunks(model, cache, torch.randint(0, VOCAB, (1, CONTEXT)), [CONTEXT])
    with pytest.raises(
        ValueError, match=rf"^{CONTEXT + 1} tokens, but the model was built for a context of {CONTEXT}$"
    ):
        in_chunks(model, cache, torch.randint(0, VOCAB, (1, 1)), [1])
