"""Checks that every back end makes on its prompts, and the plain form of a conversation."""

from collections.abc import Sequence

from roadmap_shared.errors import UserError
from text_generation.backends.types import Message, Prompt

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


def check_room(lengths: Sequence[int], max_new_tokens: int, context_window: int, model: str) -> None:
    """Check that every prompt leaves room for its answer.

    Args:
        lengths: tokens of each prompt.
        max_new_tokens: tokens of an answer at most.
        context_window: tokens of prompt and answer together at most.
        model: what the message calls the model.

    Raises:
        UserError: one does not. The message counts prompts from 1.
    """
    for number, length in enumerate(lengths, start=1):
        if length + max_new_tokens > context_window:
            raise UserError(
                f"prompt {number} of {len(lengths)} has {length} tokens; with --decoding.max_new_tokens "
                f"{max_new_tokens} that is more than the {context_window} tokens of {model}'s context. "
                "Shorten the prompt or lower --decoding.max_new_tokens."
            )


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
