"""The model that fine-tuning starts from, how it writes a conversation, and the folders that are kept of it."""

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import datasets
import torch
from jinja2 import TemplateError
from peft import LoraConfig, PeftModel, TaskType
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D
from trl.chat_template_utils import get_training_chat_template, has_generation_markers

from roadmap_shared.errors import UserError, one_line
from text_generation.backends.hf_loading import context_window_of, end_tokens_of, load_causal_lm, quiet_transformers
from text_generation.backends.trained import model_source
from text_generation.backends.types import Message
from text_generation.config.finetuning import AdapterConfig, StartConfig
from text_generation.tokenizer import PAD, SPECIAL_TOKENS, chat_template
from text_generation.training.trained_model import save_whole

MODEL_FOLDER, ADAPTER_FOLDER = "model", "adapter"
_FLAG = "--model.name"
"""The setting that names the model, for messages."""
_PROBE = (Message("user", "?"), Message("assistant", "!"))


@dataclass(frozen=True)
class ChatModel:
    """A causal language model with the template by which it writes conversations."""

    network: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    template: str
    """Jinja text with `{% generation %}` marks around the answers."""

    name: str

    @property
    def context(self) -> int:
        """Tokens that the model sees at once."""
        return context_window_of(self.network, self.tokenizer)

    def encode(self, messages: Sequence[Message]) -> tuple[list[int], list[bool]]:
        """Token ids of a conversation, and which of them belong to an answer, the token that ends it included.

        Raises:
            UserError: the template does not take the conversation.
        """
        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            found: Any = self.tokenizer.apply_chat_template(
                turns,
                chat_template=self.template,
                tokenize=True,
                return_dict=True,
                return_assistant_tokens_mask=True,
                tokenizer_kwargs={"verbose": False},
            )
        except TemplateError as error:
            raise UserError(f"the chat template does not take the conversation: {one_line(error)}") from error
        return list(found["input_ids"]), [bool(mark) for mark in found["assistant_masks"]]


def load_chat_model(start: StartConfig, adapter: AdapterConfig, runs: Path = Path("runs")) -> ChatModel:
    """Read the model and make its answers end where its template ends them.

    Args:
        start: which model; `latest` is looked for in the folder of runs.
        adapter: which weights are to be trained.
        runs: folder that holds the runs of all projects.

    Raises:
        UserError: it cannot be read, it has no chat template that marks answers, or 4 bits are
            asked for where they cannot be had.
    """
    source = start_source(start, runs)
    network, tokenizer = load_start(source, four_bits=adapter.method == "qlora")
    if start.chat_template == "built-in":
        if adapter.method != "full":
            raise UserError(
                "--model.chat_template built-in adds tokens, which an adapter does not train: give --adapter.method "
                "full"
            )
        add_built_in_template(network, tokenizer)
    return chat_model(network, tokenizer, source)


def start_source(start: StartConfig, runs: Path) -> str:
    """Folder or hub id of the model to start from; a folder without links in its path.

    Raises:
        UserError: it is the latest one, and there is none yet.
    """
    source = model_source(start.name, runs, _FLAG)
    return str(Path(source).resolve()) if Path(source).is_dir() else source


def chat_model(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> ChatModel:
    """A model in memory as a chat model; its generation config learns the token that ends an answer.

    Raises:
        UserError: its tokenizer has no chat template, or one in which the answers are not marked.
    """
    model = ChatModel(network, tokenizer, training_template(tokenizer, name), name)
    ends = end_tokens_of(network, tokenizer)
    if (end := end_of_answer(model)) is not None:
        ends |= {end}
    if network.generation_config is not None and ends:
        network.generation_config.eos_token_id = sorted(ends)
    return model


def training_template(tokenizer: PreTrainedTokenizerBase, name: str) -> str:
    """The tokenizer's chat template with marks around the answers; of known models TRL has a marked one.

    Raises:
        UserError: there is none.
    """
    own: Any = tokenizer.chat_template
    if isinstance(own, dict):
        own = own.get("default")
    if not own:
        raise UserError(
            f"--model.name {name}: its tokenizer has no chat template, so no conversation can be written for it. Give "
            "an instruct model, or --model.chat_template built-in"
        )
    if has_generation_markers(own):
        return own
    try:
        return get_training_chat_template(tokenizer) or own
    except ValueError as error:
        raise UserError(
            f"--model.name {name}: its chat template does not mark the answers, to which the loss is kept. Put "
            "{% generation %} and {% endgeneration %} around them in it, or give --model.chat_template built-in"
        ) from error


def end_of_answer(model: ChatModel) -> int | None:
    """The special token that ends an answer within the loss; None where there is none."""
    ids, marks = model.encode(_PROBE)
    special = set(model.tokenizer.all_special_ids)
    return next(
        (token for token, mark in reversed(list(zip(ids, marks, strict=True))) if mark and token in special), None
    )


def add_built_in_template(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Give a base model this project's chat template; its marks become tokens, with embeddings to be trained."""
    tokenizer.add_special_tokens({"extra_special_tokens": list(SPECIAL_TOKENS[2:])})  # type: ignore[dict-item]
    if tokenizer.pad_token is None:
        tokenizer.add_special_tokens({"pad_token": PAD})
    tokenizer.chat_template = chat_template()
    embeddings: Any = network.get_input_embeddings()
    if len(tokenizer) > embeddings.num_embeddings:
        with quiet_transformers():
            network.resize_token_embeddings(len(tokenizer))


def load_start(source: str, *, four_bits: bool = False) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer of a folder or hub id on the CPU, in single precision or in 4 bits; an adapter is merged.

    Raises:
        UserError: they cannot be read, or 4 bits cannot be had on this machine.
    """
    if four_bits:
        return _load_in_four_bits(source)
    if (Path(source) / "adapter_config.json").is_file():
        return load_merged(Path(source))
    return load_causal_lm(source, "cpu", flag=_FLAG)


def load_merged(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A base model with the LoRA adapter of a folder added to its weights.

    Raises:
        UserError: the adapter or its base cannot be read.
    """
    if not (folder / "adapter_model.safetensors").is_file():
        raise UserError(f"--model.name {folder}: has an adapter's config, but no adapter_model.safetensors")
    try:
        base = json.loads((folder / "adapter_config.json").read_text("utf-8"))["base_model_name_or_path"]
        if not isinstance(base, str) or not base:
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"--model.name {folder / 'adapter_config.json'}: is damaged, or names no base model") from error
    network, _ = load_causal_lm(base, "cpu", flag=_FLAG)
    with tuning_warnings():
        merged: Any = PeftModel.from_pretrained(network, str(folder)).merge_and_unload()
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    return merged, tokenizer


def _load_in_four_bits(source: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    check_four_bits()
    from transformers import BitsAndBytesConfig

    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
            network = AutoModelForCausalLM.from_pretrained(
                source, quantization_config=settings, use_safetensors=True, trust_remote_code=False
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"--model.name {source}: cannot be loaded in 4 bits: {one_line(error)}") from error
    return network, tokenizer


def check_four_bits() -> None:
    """Raise UserError where QLoRA cannot be had."""
    if not torch.cuda.is_available():
        raise UserError(
            "--adapter.method qlora needs a GPU, and this machine has none that torch can use: give lora or full"
        )
    if find_spec("bitsandbytes") is None:
        raise UserError("--adapter.method qlora needs bitsandbytes: pip install bitsandbytes, or give lora")


def lora_config(network: PreTrainedModel, config: AdapterConfig) -> LoraConfig | None:
    """W + (alpha / rank)·B·A with B = 0 at first (Hu et al. 2022, "LoRA", section 4.1); None for full fine-tuning.

    Raises:
        UserError: a named layer is not there.
    """
    if config.method == "full":
        return None
    if config.target_modules is not None:
        names = [name for name, _ in network.named_modules()]
        for wanted in config.target_modules:
            if not any(name == wanted or name.endswith(f".{wanted}") for name in names):
                raise UserError(f"--adapter.target_modules: the model has no layer '{wanted}'")
    return LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type]  # annotated as int, used as a factor
        lora_dropout=config.dropout,
        target_modules="all-linear" if config.target_modules is None else list(config.target_modules),
        # GPT-2 keeps its linear layers' weights transposed.
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in network.modules()),
    )


def save_tuned(trained: Any, tokenizer: PreTrainedTokenizerBase, folder: Path, *, merge: bool) -> tuple[Any, Path]:
    """Write what training has made; returns the network to go on with and the folder to load it from.

    A fully trained network goes to `model/`. Of LoRA, `adapter/` holds the adapter alone and, where `merge` is asked
    for, `model/` the network with the adapter added to its weights.
    """
    with tuning_warnings(), quiet_transformers():
        if not isinstance(trained, PeftModel):
            save_whole(folder / MODEL_FOLDER, trained, tokenizer)
            return trained, folder / MODEL_FOLDER
        save_whole(folder / ADAPTER_FOLDER, trained, tokenizer)
        if not merge or getattr(trained, "is_loaded_in_4bit", False):
            return trained, folder / ADAPTER_FOLDER
        merged = trained.merge_and_unload()
        save_whole(folder / MODEL_FOLDER, merged, tokenizer)
        return merged, folder / MODEL_FOLDER


@contextmanager
def tuning_warnings() -> Iterator[None]:
    """Within it, the libraries show no bars of their own, and the warnings about each other's versions are left out."""
    had_bars = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        with warnings.catch_warnings(), quiet_transformers():
            # peft 0.21 asks transformers for a property under its former name.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            yield
    finally:
        if had_bars:
            datasets.enable_progress_bars()
