"""Reading a checkpoint of transformers, and refusing one that would load and yet answer at random.

Where weights or the tokenizer's vocabulary are missing, transformers fills in random numbers or a vocabulary of special
tokens alone, and says so in a log at most.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from model_optimization.pruning.pruned_bert import register_pruned
from roadmap_shared.errors import UserError, one_line

# What transformers raises on files that are missing, damaged, or hold values of another type than it expects.
_UNREADABLE = (OSError, ValueError, RuntimeError, TypeError, KeyError, AttributeError, SafetensorError)
_VOCABULARY_FILES = ("tokenizer.json", "vocab.*", "*.model", "merges.txt")
_COPY = "copy the model folder again, or use another model"


def read_classifier(source: str, settings: Any = None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Network and tokenizer. Without `settings`, the checkpoint must be a classifier; with them it becomes one.

    Raises:
        UserError: files are missing or damaged, do not belong together, or are no text classifier's.
    """
    register_pruned()
    if settings is None:
        settings = read_config(source)
        if not is_classifier(settings):
            raise UserError(
                f"{source}: is no text classifier but {_kind(settings)}: give a sequence-classification model, or "
                "train one with --model.name"
            )
    try:
        with quiet_transformers():
            # Sizes that differ come back in `info` and are refused below, in words of our own.
            network, info = AutoModelForSequenceClassification.from_pretrained(
                source, config=settings, output_loading_info=True, ignore_mismatched_sizes=True
            )
    except _UNREADABLE as error:
        raise _cannot_load(source, error) from error
    _check_weights(source, network, settings, info)
    return network, _read_tokenizer(source, settings)


def read_config(source: str) -> Any:
    """The settings of a checkpoint, a folder or an id on the hub.

    Raises:
        UserError: they are missing or damaged, or a classifier's whose outputs are no probabilities of labels.
    """
    register_pruned()
    try:
        settings = AutoConfig.from_pretrained(source)
    except (*_UNREADABLE, StrictDataclassError) as error:
        raise _cannot_load(source, error) from error
    if is_classifier(settings):
        _check_labels(source, settings)
    return settings


def is_classifier(settings: Any) -> bool:
    """Whether the settings are those of a sequence classifier."""
    return any("SequenceClassification" in name for name in settings.architectures or ())


def label_names(settings: Any) -> tuple[str, ...]:
    """Names of the K labels, in the order of the logits, whatever the order in the file."""
    return tuple(settings.id2label[index] for index in range(len(settings.id2label)))


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Within it, transformers shows neither a progress bar nor that the classification layer is new."""
    verbosity, had_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if had_bar:
            logging.enable_progress_bar()


def _kind(settings: Any) -> str:
    return ", ".join(settings.architectures or ()) or f"{settings.model_type} without a task"


def _check_labels(source: str, settings: Any) -> None:
    names = settings.id2label
    if not names or set(names) != set(range(len(names))) or len(set(names.values())) != len(names):
        raise UserError(
            f"{source}: id2label in config.json must give each output of the network, 0 to {max(len(names) - 1, 0)}, a "
            "name of its own"
        )
    if settings.problem_type in ("multi_label_classification", "regression"):
        raise UserError(
            f"{source}: problem_type in config.json is {settings.problem_type}, whose outputs are no probabilities "
            "that add up to 1: use a model that gives each text one label (single_label_classification)"
        )


def _check_weights(source: str, network: PreTrainedModel, settings: Any, info: Any) -> None:
    """Refuse weights of other sizes than the config's, and missing ones, which transformers fills with random numbers.

    An encoder that becomes a classifier lacks the last layer, and often the pooler: masked language models have none.
    """
    for name, there, here in sorted(info["mismatched_keys"]):
        raise UserError(f"{source}: {name} is {tuple(there)} in its weights, but {tuple(here)} by its config: {_COPY}")
    lacking = sorted(info["missing_keys"])
    if not is_classifier(settings):
        encoder = f"{network.base_model_prefix}."
        lacking = [name for name in lacking if name.startswith(encoder) and ".pooler." not in name]
    if lacking:
        more = f" and {len(lacking) - 4} more" if len(lacking) > 4 else ""
        raise UserError(
            f"{source}: its weights lack {', '.join(lacking[:4])}{more}, which its config asks for: {_COPY}"
        )


def _read_tokenizer(source: str, settings: Any) -> PreTrainedTokenizerBase:
    remedy = "copy the tokenizer's files, such as tokenizer.json, from where the model comes from"
    no_vocabulary = UserError(f"{source}: has no vocabulary for its tokenizer: {remedy}")
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(source)
    except _UNREADABLE as error:
        folder = Path(source)
        if folder.is_dir() and not any(any(folder.glob(pattern)) for pattern in _VOCABULARY_FILES):
            raise no_vocabulary from error
        raise _cannot_load(source, error) from error
    if len(tokenizer) <= len(set(tokenizer.all_special_tokens)):
        raise no_vocabulary
    # Some checkpoints round the number of their embeddings up, none to its double.
    expected = getattr(settings, "vocab_size", None)
    if isinstance(expected, int) and 2 * len(tokenizer) < expected:
        raise UserError(
            f"{source}: its tokenizer has {len(tokenizer):,} tokens, but its network was trained with {expected:,}: "
            f"{remedy}"
        )
    if tokenizer.pad_token_id is None:
        raise UserError(f"{source}: its tokenizer has no padding token: use an encoder such as bert-base-uncased")
    return tokenizer


def _cannot_load(source: str, error: Exception) -> UserError:
    if Path(source).exists():
        return UserError(f"{source}: cannot be loaded as a text classifier: {one_line(error)}")
    return UserError(
        f"--model.name {source}: there is no such folder, and the hub does not answer or has no such model. "
        "Offline, use --model.name minilm or a folder"
    )
