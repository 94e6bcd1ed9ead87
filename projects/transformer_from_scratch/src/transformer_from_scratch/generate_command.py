"""`transformer-from-scratch generate`: continue prompts with a trained model, or with GPT-2's weights."""

from collections.abc import Iterator

import torch

from roadmap_shared.errors import UserError
from transformer_from_scratch.beam_search import beam_search
from transformer_from_scratch.checkpoints import load_trained
from transformer_from_scratch.config import GenerateConfig
from transformer_from_scratch.generate import stream_text, until
from transformer_from_scratch.gpt2 import load_gpt2
from transformer_from_scratch.gpt2_tokenizer import END_OF_TEXT
from transformer_from_scratch.models import DecoderLM
from transformer_from_scratch.tokenizers import Tokenizer


def run(config: GenerateConfig) -> None:
    """Print each prompt and its continuation, the latter as it is made; texts are set apart by a blank line."""
    model, tokenizer, end_token = load(config)
    for prompt in config.prompt:  # a symbol that the model does not know is said before anything is printed
        tokenizer.encode(prompt)
    for number, prompt in enumerate(config.prompt):
        generator = torch.Generator().manual_seed(config.seed)
        print("\n\n" * (number > 0) + prompt, end="", flush=True)
        for piece in continuation(model, tokenizer, prompt, config, end_token, generator):
            print(piece, end="", flush=True)
    print()


def load(config: GenerateConfig) -> tuple[DecoderLM, Tokenizer, int | None]:
    """The model that `config` names, its tokenizer, and the token that ends a text, if it has one.

    Raises:
        UserError: it cannot be loaded, or is no decoder, or has no tokenizer.
    """
    if config.gpt2 is not None:
        gpt2, gpt2_tokenizer = load_gpt2(config.gpt2)
        if gpt2_tokenizer is None:
            raise UserError(f"--gpt2 {config.gpt2}: no tokenizer beside the weights; add vocab.json and merges.txt")
        return gpt2, gpt2_tokenizer, gpt2_tokenizer.special_id(END_OF_TEXT)
    model, tokenizer, path = load_trained(config.checkpoint)
    if not isinstance(model, DecoderLM):
        raise UserError(
            f"{path}: holds a {type(model).__name__}, which cannot continue a text; give a run of the command `run`"
        )
    return model, tokenizer, None


def continuation(
    model: DecoderLM,
    tokenizer: Tokenizer,
    prompt: str,
    config: GenerateConfig,
    end_token: int | None,
    generator: torch.Generator,
) -> Iterator[str]:
    """Pieces of the continuation: sampled token by token, or all at once by beam search."""
    if config.beams == 1:
        yield from stream_text(model, tokenizer, prompt, config, end_token=end_token, generator=generator)
        return
    best = beam_search(
        model,
        tokenizer.encode(prompt),
        n_beams=config.beams,
        max_new_tokens=config.length,
        end_token=end_token,
        length_penalty=config.length_penalty,
    )[0]
    text = tokenizer.decode(best.tokens)
    yield from [text] if config.stop is None else until([text], config.stop)
