"""A byte-level BPE tokenizer of one's own, in the format that `transformers` reads.

It is GPT-2's kind (Radford et al. 2019, §2.2): a text is cut into words, numbers and punctuation, and pairs of tokens
are merged from the 256 bytes upward, so that every text can be encoded and comes back unchanged. Besides the end of a
text it knows the marks of a conversation from the start, so that fine-tuning on one changes no embedding's size:

```
<|system|>You are brief.<|end|><|user|>Who is Mira?<|end|><|assistant|>An otter.<|end|>
```
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from roadmap_shared.errors import UserError, one_line
from text_generation.config.data import TokenizerConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

END_OF_TEXT = "<|endoftext|>"
"""Stands between documents, and ends a generated text."""

PAD = "<|pad|>"
"""Fills a batch. It is a token of its own: with END_OF_TEXT for it, a trainer that ignores padding in the loss would
also ignore the ends of texts."""

SYSTEM, USER, ASSISTANT = "<|system|>", "<|user|>", "<|assistant|>"
END_OF_TURN = "<|end|>"
"""Ends a turn of a conversation. Generation of an answer stops at it."""

SPECIAL_TOKENS = (END_OF_TEXT, PAD, SYSTEM, USER, ASSISTANT, END_OF_TURN)
"""Their ids are 0 to 5."""


def train_tokenizer(
    texts: Iterable[str], config: TokenizerConfig | None = None, context: int | None = None
) -> "PreTrainedTokenizerFast":
    """Train a tokenizer. The same texts in the same order give the same tokenizer.

    Args:
        texts: the training documents; held-out ones would leak their words into the vocabulary.
        config: size of the vocabulary.
        context: tokens that the model sees at most, stored as the tokenizer's `model_max_length`.

    Raises:
        UserError: there is no text.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    config = config or TokenizerConfig()
    documents = [text for text in texts if text]
    if not documents:
        raise UserError("there is no text to train a tokenizer on")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocabulary,
        min_frequency=config.min_frequency,
        special_tokens=list(SPECIAL_TOKENS),
        # Without it, a byte that the texts do not hold could not be encoded.
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token=PAD,
        additional_special_tokens=list(SPECIAL_TOKENS[2:]),
        clean_up_tokenization_spaces=False,
        chat_template=chat_template(),
        **({} if context is None else {"model_max_length": context}),
    )


def chat_template() -> str:
    """Jinja template of a conversation: each turn is its role's mark, its text and the end of the turn.

    The text of an answer is marked for `assistant_only_loss`, its end included. A special token that is written out in
    a message is taken apart (`< |end|>`), so that no message can forge a turn.
    """
    content = "message.content" + "".join(f" | replace('{mark}', '< {mark[1:]}')" for mark in SPECIAL_TOKENS)
    return (
        "{%- for message in messages -%}"
        "{%- if message.role == 'assistant' -%}"
        f"{ASSISTANT}{{% generation %}}{{{{ {content} }}}}{END_OF_TURN}{{% endgeneration %}}"
        "{%- elif message.role in ['system', 'user'] -%}"
        f"{{{{ '<|' + message.role + '|>' }}}}{{{{ {content} }}}}{END_OF_TURN}"
        "{%- else -%}"
        "{{ raise_exception('a turn is by system, user or assistant, not by ' + message.role) }}"
        "{%- endif -%}"
        "{%- endfor -%}"
        f"{{%- if add_generation_prompt -%}}{ASSISTANT}{{%- endif -%}}"
    )


def load_tokenizer(folder: Path) -> "PreTrainedTokenizerFast":
    """The tokenizer that `save_pretrained` wrote.

    Raises:
        UserError: the folder holds none, or a damaged one.
    """
    from transformers import PreTrainedTokenizerFast

    if not (folder / "tokenizer.json").is_file():
        raise UserError(f"{folder}: holds no tokenizer (no tokenizer.json): give the folder of a trained model")
    try:
        return PreTrainedTokenizerFast.from_pretrained(folder)
    except Exception as error:  # the Rust library raises plain Exception
        raise UserError(f"{folder / 'tokenizer.json'}: is damaged ({one_line(error)[:120]}): train it again") from error


def bytes_per_token(tokenizer: "PreTrainedTokenizerFast", texts: Sequence[str]) -> float:
    """UTF-8 bytes of the texts by the tokens that they become: the higher, the fewer steps a text takes.

    Raises:
        ValueError: the texts hold nothing.
    """
    n_tokens = sum(len(ids) for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]) if texts else 0
    if not n_tokens:
        raise ValueError("there are no tokens to count")
    return sum(len(text.encode()) for text in texts) / n_tokens
