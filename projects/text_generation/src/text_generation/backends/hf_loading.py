"""Reading a causal language model and its tokenizer from a folder or from the hub."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from roadmap_shared.errors import UserError, one_line

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
_NO_LIMIT = 10**9
"""Above it, a tokenizer's `model_max_length` means that it knows none."""


def load_causal_lm(
    source: str, device: str = "auto", *, flag: str = "--backend.model", device_flag: str = "--backend.device"
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Read a model and its tokenizer, in single precision on a CPU and in bfloat16 on a GPU.

    Only safetensors are read, never a pickle, and no code that comes with a model is run.

    Args:
        source: a folder written by `save_pretrained`, full or with a LoRA adapter, or a hub id.
        device: auto (a GPU where there is one), cpu or cuda.
        flag: the setting that names the model, for messages.
        device_flag: the setting that names the device, likewise.

    Raises:
        UserError: there is no such folder or hub model, a part is missing or damaged, tokenizer and model do not
            belong together, or there is no GPU.
    """
    place = find_device(device, device_flag)
    if Path(source).exists():
        _check_folder(Path(source), flag)
    elif source.startswith((".", "/", "~")):
        raise UserError(f"{flag} {source}: there is no such folder")
    dtype = torch.bfloat16 if place.type == "cuda" else torch.float32
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
            network = AutoModelForCausalLM.from_pretrained(
                source, dtype=dtype, use_safetensors=True, trust_remote_code=False
            )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise _cannot_load(source, error, flag) from error
    check_vocabulary(network, tokenizer, source)
    network.to(place)  # type: ignore[arg-type]  # in place; its stub hides the method's self
    return network.eval(), tokenizer


def find_device(name: str, flag: str = "--backend.device") -> torch.device:
    """auto, cpu or cuda as a device. `flag` is the setting that names it, for the message.

    Raises:
        UserError: cuda, and there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError(f"{flag} cuda: this machine has no GPU that torch can use. Give auto or cpu.")
    return torch.device(name)


def check_vocabulary(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, source: str) -> None:
    """Check that the model has an embedding for every token.

    Raises:
        UserError: it has fewer.
    """
    embeddings: Any = network.get_input_embeddings()
    if len(tokenizer) > embeddings.num_embeddings:
        raise UserError(
            f"{source}: its tokenizer has {len(tokenizer)} tokens and its model {embeddings.num_embeddings}: they do "
            "not belong together. Put the tokenizer that the model was trained with into the folder."
        )


def context_window_of(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """Tokens of prompt and answer together: the lesser of the model's positions and the tokenizer's limit."""
    positions = getattr(network.config.get_text_config(), "max_position_embeddings", None) or _NO_LIMIT
    return min(positions, tokenizer.model_max_length, _NO_LIMIT)


def end_tokens_of(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Ids of the tokens that end an answer: a chat model often names the end of a turn besides the end of a text."""
    named = network.generation_config.eos_token_id if network.generation_config is not None else None
    ends = [named] if isinstance(named, int) else list(named or [])
    if isinstance(tokenizer.eos_token_id, int):
        ends.append(tokenizer.eos_token_id)
    return frozenset(ends)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Within it, transformers shows neither a progress bar nor advice."""
    verbosity, had_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if had_bar:
            logging.enable_progress_bar()


def _check_folder(folder: Path, flag: str) -> None:
    if folder.is_file():
        raise UserError(f"{flag} {folder}: is a file. Name the folder that holds it.")
    adapter = (folder / "adapter_config.json").is_file()
    if not adapter and not (folder / "config.json").is_file():
        raise UserError(f"{flag} {folder}: is no model folder (no config.json in it)")
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise UserError(
            f"{flag} {folder}: has no tokenizer (none of {', '.join(_TOKENIZER_FILES)}). "
            "Save it there with tokenizer.save_pretrained."
        )
    if not any(folder.glob("*.safetensors")):
        raise UserError(
            f"{flag} {folder}: has no weights as .safetensors. Other formats may run code when they are "
            "read: convert them where you trust them, with save_pretrained."
        )
    settings = folder / ("adapter_config.json" if adapter else "config.json")
    try:
        json.loads(settings.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{settings}: is damaged ({one_line(error)}). Copy the model folder again.") from error


def _cannot_load(source: str, error: Exception, flag: str) -> UserError:
    if Path(source).exists():
        return UserError(f"{flag} {source}: cannot be loaded as a causal language model: {one_line(error)}")
    return UserError(
        f"{flag} {source}: there is no such folder, and the hub does not answer or has no such model in "
        "safetensors. Give a folder, or connect to the network."
    )
