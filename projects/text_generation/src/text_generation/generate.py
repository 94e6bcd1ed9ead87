"""`text-generation generate`: one prompt, one answer, freely or of a given form."""

from dataclasses import replace

from roadmap_shared.errors import UserError
from text_generation.backends.types import Generation, Message, Prompt
from text_generation.config.decoding import DecodingConfig
from text_generation.config.generating import GenerateConfig
from text_generation.prompting.structured import Constraint, constraint_of
from text_generation.terminal_text import shown
from text_generation.text_generator import open_generator


def run_generate(config: GenerateConfig) -> None:
    """Print the answer. One that has to fit a schema or an expression and does not is not printed.

    Raises:
        UserError: the schema cannot be read or enforced, the model does not answer, or its answer does not fit.
    """
    decoding = decoding_of(config)
    try:
        constraint = constraint_of(decoding)  # before the model is loaded: a mistake is told in no time
    except UserError as error:
        raise UserError(f"{config.schema}: {error}" if config.schema else str(error)) from error
    prompt: Prompt = [Message("user", config.prompt)] if config.chat else config.prompt
    with open_generator(config.backend) as generator:
        answer = generator.generate(prompt, decoding, config.seed)
    if answer.finish_reason == "error":
        raise UserError(answer.text)
    if constraint is not None:
        check_fit(answer, constraint)
    print(shown(answer.text))


def decoding_of(config: GenerateConfig) -> DecodingConfig:
    """The settings, with the schema of the file.

    Raises:
        UserError: the file cannot be read.
    """
    if config.schema is None:
        return config.decoding
    try:
        return replace(config.decoding, json_schema=config.schema.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UserError(f"--schema {config.schema}: cannot be read ({reason})") from error
    except ValueError as error:
        raise UserError(str(error).replace("--decoding.json_schema", "--schema", 1)) from error


def check_fit(answer: Generation, constraint: Constraint) -> None:
    """Check an answer without llguidance: a server may not keep to what it is asked.

    Raises:
        UserError: the answer is cut, or of another form.
    """
    if constraint.is_valid(answer.text):
        return
    what = {"json_schema": "JSON that fits the schema"}.get(constraint.kind, "a text that the expression matches")
    if answer.finish_reason == "length":
        raise UserError(
            f"the answer was cut after {answer.new_tokens} tokens, before it was {what}. Raise "
            "--decoding.max_new_tokens, or bound its parts (maxLength, maxItems)."
        )
    raise UserError(f"the answer is not {what}: the server does not enforce it. Use a local model, --backend.kind hf.")
