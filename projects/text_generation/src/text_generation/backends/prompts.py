"""Checks that every back end makes on its prompts, and the plain form of a conversation."""

from collections.abc import Sequence

from roadmap_shared.errors import UserError
from text_generation.backends.types import Message, Prompt
from text_generation.config.decoding import DecodingConfig

ROLES = ("system", "user", "assistant")


def as_messages(prompt: Prompt) -> list[Message]:
    """Return a conversation's turns; a plain text becomes one turn of the user."""
    return [Message("user", prompt)] if isinstance(prompt, str) else list(prompt)


def is_empty(prompt: Prompt) -> bool:
    """Whether a prompt says nothing: no text, or a conversation without one turn that has any."""
    if isinstance(prompt, str):
        return prompt == ""
    return not any(message.content.strip() for message in prompt)


def check_prompts(prompts: Sequence[Prompt]) -> None:
    """Check what can be checked without a tokenizer.

    Raises:
        UserError: a prompt is empty, or a turn has an unknown role. The message counts prompts from 1.
    """
    for number, prompt in enumerate(prompts, start=1):
        place = f"prompt {number} of {len(prompts)}"
        if is_empty(prompt):
            raise UserError(f"{place} is empty. Give the model at least one word to go on with.")
        if isinstance(prompt, str):
            continue
        for message in prompt:
            if message.role not in ROLES:
                raise UserError(f"{place} has a turn with the role {message.role!r}. Roles are {', '.join(ROLES)}.")


def answer_limits(lengths: Sequence[int], decoding: DecodingConfig, context_window: int, model: str) -> list[int]:
    """Tokens that the answer to each prompt may have: `decoding.max_new_tokens`, or, where that is None,
    `decoding.default_new_tokens` as far as the context has room after the prompt.

    Args:
        lengths: tokens of each prompt.
        decoding: how many tokens are asked for.
        context_window: tokens of prompt and answer together at most.
        model: what the message calls the model.

    Raises:
        UserError: a prompt leaves too little room. The message counts prompts from 1.
    """
    asked = decoding.max_new_tokens
    for number, length in enumerate(lengths, start=1):
        if length + (asked or 1) > context_window:
            context = f"the {context_window} tokens of {model}'s context"
            if asked is None:
                raise UserError(
                    f"prompt {number} of {len(lengths)} has {length} tokens: no room for an answer is left in "
                    f"{context}. Shorten the prompt."
                )
            raise UserError(
                f"prompt {number} of {len(lengths)} has {length} tokens; with --decoding.max_new_tokens {asked} that "
                f"is more than {context}. Shorten the prompt or lower --decoding.max_new_tokens."
            )
    return [min(decoding.most_new_tokens, context_window - length) for length in lengths]


def plain_conversation(messages: Sequence[Message]) -> str:
    """Write a conversation as text, for a model whose tokenizer has no chat template.

    Each turn is its role, a colon and its content, turns are parted by an empty line, and the text ends with
    `Assistant:`, where the model goes on:

        System: Be brief.

        User: Hello!

        Assistant:
    """
    turns = [f"{message.role.capitalize()}: {message.content}" for message in messages]
    return "\n\n".join([*turns, "Assistant:"])
