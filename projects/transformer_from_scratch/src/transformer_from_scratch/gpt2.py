"""GPT-2 (Radford et al. 2019) as published on the Hugging Face hub, in our `DecoderLM`.

A checkpoint is a folder with `config.json`, the weights in safetensors (one file, or several with an index),
and usually the tokenizer. Nothing is unpickled. GPT-2 is our decoder with learned positions, pre-norm,
biases, and the tanh approximation of GELU; what differs is only how the weights are stored: linear layers lie
transposed (in, out), and queries, keys and values are one matrix.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from roadmap_shared.errors import UserError, one_line
from transformer_from_scratch.config import ActivationName, ModelConfig
from transformer_from_scratch.gpt2_tokenizer import GPT2Tokenizer, load_gpt2_tokenizer
from transformer_from_scratch.models import DecoderLM
from transformer_from_scratch.normalization import LayerNorm

ACTIVATIONS: dict[str, ActivationName] = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
}
"""Hugging Face's names of activations, and ours."""

FIXED_SETTINGS = {
    "add_cross_attention": False,
    "scale_attn_by_inverse_layer_idx": False,
    "scale_attn_weights": True,
}
"""Settings of Hugging Face's GPT-2 that change the computation, and the only values that are supported."""

# Old checkpoints hold a constant mask a layer.
CAUSAL_MASK = re.compile(r"h\.\d+\.attn\.(masked_)?bias")

NEEDED_FILES = ["config.json", "model*.safetensors*", "vocab.json", "merges.txt", "tokenizer.json"]


def load_gpt2(folder_or_hub_id: str | Path) -> tuple[DecoderLM, GPT2Tokenizer | None]:
    """Load a GPT-2 model and its tokenizer, None where the checkpoint has none.

    Args:
        folder_or_hub_id: a folder, or a hub id such as `openai-community/gpt2`, which needs the package
            `huggingface_hub` and, the first time, a network.

    Returns:
        The model in float32 and evaluation mode, on the CPU, and the tokenizer.

    Raises:
        UserError: there is no such folder or hub id, or it holds no GPT-2 model that can be read.
    """
    folder = find_folder(folder_or_hub_id)
    settings = read_json(folder / "config.json")
    config, vocab_size = read_config(settings, folder / "config.json")
    epsilon = settings.get("layer_norm_epsilon", 1e-5)
    if not isinstance(epsilon, float) or not epsilon > 0:
        raise UserError(f"{folder / 'config.json'}: layer_norm_epsilon {epsilon!r} must be a number above 0")
    weights = convert_weights(Checkpoint(read_tensors(folder), folder), config, vocab_size)
    with torch.device("meta"):  # no memory and no random numbers for weights that are replaced at once
        model = DecoderLM(config, vocab_size)
    model.load_state_dict(weights, assign=True)
    for module in model.modules():
        if isinstance(module, LayerNorm):
            module.eps = epsilon
    return model.eval(), load_gpt2_tokenizer(folder)


def find_folder(folder_or_hub_id: str | Path) -> Path:
    """The folder, or the one that holds the downloaded hub id. Raises UserError if there is neither."""
    folder, name = Path(folder_or_hub_id), str(folder_or_hub_id)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise UserError(f"{name} is a file: give the folder that holds config.json and model.safetensors")
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", name):
        raise UserError(f"{name}: no such folder, and no hub id (as openai-community/gpt2) looks like this")
    instead = "give a folder that holds config.json and model.safetensors instead"
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise UserError(
            f"{name}: no such folder, and hub ids need the package huggingface_hub; install it, or {instead}"
        ) from None
    try:
        return Path(snapshot_download(name, allow_patterns=NEEDED_FILES))
    except (OSError, ValueError) as error:  # what huggingface_hub's errors have in common
        reason = one_line(error).partition(". ")[0]
        raise UserError(f"{name}: no such folder, and not to be had from the hub ({reason}); {instead}") from None


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises UserError if the file is missing or holds anything else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path.parent} holds no {path.name}: is it a Hugging Face GPT-2 folder?") from None
    except ValueError as error:
        raise UserError(f"{path} is damaged: {one_line(error)}; download it again") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged: expected a JSON object; download it again")
    return value


def read_config(settings: Mapping[str, Any], path: Path) -> tuple[ModelConfig, int]:
    """Shape and vocabulary size from Hugging Face's settings. Raises UserError unless we can build that."""
    model_type = settings.get("model_type")
    if model_type != "gpt2":
        raise UserError(f"{path}: model_type {model_type!r} is not 'gpt2'; only GPT-2 models can be loaded")
    for name, value in FIXED_SETTINGS.items():
        if settings.get(name, value) != value:
            raise UserError(f"{path}: {name} must be {value}, as in all models that OpenAI published")
    activation = settings.get("activation_function", "gelu_new")
    if activation not in ACTIVATIONS:
        raise UserError(
            f"{path}: activation_function {activation!r} is not supported; known are {', '.join(ACTIVATIONS)}"
        )
    sizes = {"n_layer": 12, "n_embd": 768, "n_head": 12, "n_positions": 1024, "vocab_size": 50257}
    sizes = {name: settings.get(name, default) for name, default in sizes.items()}
    n_inner = settings.get("n_inner")
    sizes["n_inner"] = 4 * sizes["n_embd"] if n_inner is None else n_inner
    for name, size in sizes.items():
        if type(size) is not int or size < 1:
            raise UserError(f"{path}: {name} {size!r} must be a whole number of at least 1")
    if sizes["n_embd"] % sizes["n_head"]:
        raise UserError(f"{path}: n_embd {sizes['n_embd']} is not a multiple of n_head {sizes['n_head']}")
    config = ModelConfig(
        n_layers=sizes["n_layer"],
        d_model=sizes["n_embd"],
        n_heads=sizes["n_head"],
        d_hidden=sizes["n_inner"],
        context=sizes["n_positions"],
        positions="learned",
        norm="layer",
        norm_position="pre",
        activation=ACTIVATIONS[activation],
        bias=True,
        tie_embeddings=bool(settings.get("tie_word_embeddings", True)),
    )
    return config, sizes["vocab_size"]


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint by name, without the prefix `transformer.`.

    The constant causal masks that old checkpoints hold are left out.

    Raises UserError if the folder has no weights in safetensors, or a file of them is missing or damaged.
    """
    tensors: dict[str, Tensor] = {}
    for file in weight_files(folder):
        try:
            tensors |= load_file(file)
        except FileNotFoundError:
            raise UserError(f"{file} is missing although the index names it; download it again") from None
        except SafetensorError as error:
            raise UserError(f"{file} is damaged ({one_line(error)}); download it again") from None
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    return {name: tensor for name, tensor in tensors.items() if not CAUSAL_MASK.fullmatch(name)}


def weight_files(folder: Path) -> list[Path]:
    """`model.safetensors`, or the files that its index names. Raises UserError if there is neither."""
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").exists():
        return [folder / "model.safetensors"]
    if index.exists():
        places = read_json(index).get("weight_map")
        # A name with a slash could lead out of the folder.
        if not isinstance(places, dict) or not all(Path(str(name)).name == name for name in places.values()):
            raise UserError(f"{index} is damaged: weight_map must name files beside it; download it again")
        return [folder / name for name in sorted(set(places.values()))]
    if pickled := sorted(folder.glob("*.bin")):
        raise UserError(
            f"{folder} has its weights only as a pickle ({pickled[0].name}), which could run any code and is "
            "never opened: convert it to model.safetensors"
        )
    raise UserError(f"{folder} holds no model.safetensors: is it a Hugging Face GPT-2 folder?")


class Checkpoint:
    """The tensors of a checkpoint. Each is taken once, by name and shape, so that none is left over."""

    def __init__(self, tensors: dict[str, Tensor], folder: Path) -> None:
        self.tensors, self.folder = dict(tensors), folder

    def take(self, name: str, *shape: int) -> Tensor:
        """The tensor in float32. Raises UserError if it is missing or has another shape."""
        tensor = self.tensors.pop(name, None)
        if tensor is None:
            raise UserError(f"the weights in {self.folder} lack the tensor {name}: is it a GPT-2 of another kind?")
        if tuple(tensor.shape) != shape:
            raise UserError(
                f"the weights in {self.folder} do not fit its config.json: {name} has shape "
                f"{tuple(tensor.shape)}, not {shape}"
            )
        return tensor.float()

    def take_linear(self, name: str, n_in: int, n_out: int) -> tuple[Tensor, Tensor]:
        """Weight (out, in), which is stored transposed, and bias (out,)."""
        # Without a copy the memory stays (in, out), and a product with one row, as in decoding, is faster.
        return self.take(f"{name}.weight", n_in, n_out).t(), self.take(f"{name}.bias", n_out)

    def finish(self) -> None:
        """Raise UserError if a tensor was left over: the model would compute something else without it."""
        if self.tensors:
            raise UserError(
                f"the weights in {self.folder} have a tensor that is no part of GPT-2's language model: "
                f"{min(self.tensors)}"
            )


def convert_weights(checkpoint: Checkpoint, config: ModelConfig, vocab_size: int) -> dict[str, Tensor]:
    """The checkpoint's tensors under `DecoderLM`'s names. Raises UserError unless they fit `config`."""
    width = config.d_model
    weights = {
        "tokens.embedding.weight": checkpoint.take("wte.weight", vocab_size, width),
        "stack.positions.table.weight": checkpoint.take("wpe.weight", config.context, width),
        "stack.norm.weight": checkpoint.take("ln_f.weight", width),
        "stack.norm.bias": checkpoint.take("ln_f.bias", width),
    }
    for layer in range(config.n_layers):
        for name, tensor in convert_block(checkpoint, f"h.{layer}", config):
            weights[f"stack.blocks.{layer}.{name}"] = tensor
    if not config.tie_embeddings:
        weights["tokens.head.weight"] = checkpoint.take("lm_head.weight", vocab_size, width)
    elif "lm_head.weight" in checkpoint.tensors:  # some checkpoints store the shared matrix twice
        head = checkpoint.take("lm_head.weight", vocab_size, width)
        if not torch.equal(head, weights["tokens.embedding.weight"]):
            raise UserError(
                f"{checkpoint.folder}: lm_head.weight differs from wte.weight, which config.json ties: "
                "set tie_word_embeddings to false there"
            )
    checkpoint.finish()
    return weights


def convert_block(checkpoint: Checkpoint, block: str, config: ModelConfig) -> Iterator[tuple[str, Tensor]]:
    """Our names and tensors of one block."""
    width, hidden = config.d_model, config.d_hidden
    for ours, theirs in (("attention_residual.norm", "ln_1"), ("feed_forward_residual.norm", "ln_2")):
        yield f"{ours}.weight", checkpoint.take(f"{block}.{theirs}.weight", width)
        yield f"{ours}.bias", checkpoint.take(f"{block}.{theirs}.bias", width)
    weight, bias = checkpoint.take_linear(f"{block}.attn.c_attn", width, 3 * width)
    for ours, rows in zip(("query", "key", "value"), range(0, 3 * width, width), strict=True):
        yield f"attention.{ours}.weight", weight[rows : rows + width]
        yield f"attention.{ours}.bias", bias[rows : rows + width]
    for ours, theirs, n_in, n_out in (
        ("attention.output", "attn.c_proj", width, width),
        ("feed_forward.up", "mlp.c_fc", width, hidden),
        ("feed_forward.down", "mlp.c_proj", hidden, width),
    ):
        weight, bias = checkpoint.take_linear(f"{block}.{theirs}", n_in, n_out)
        yield f"{ours}.weight", weight
        yield f"{ours}.bias", bias
