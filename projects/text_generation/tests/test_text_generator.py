"""The generator: conversations kept within the context, attempts, and how a back end is opened."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadmap_shared.errors import UserError
from text_generation.backends.retrying import RetryPolicy
from text_generation.backends.scripted import ScriptedBackend
from text_generation.backends.types import BackendError, Message, Prompt
from text_generation.config.backend import BackendConfig
from text_generation.config.decoding import DecodingConfig
from text_generation.text_generator import TextGenerator, open_backend, open_generator

AT_ONCE = RetryPolicy(retries=2, sleep=lambda seconds: None)
contents = st.lists(st.sampled_from(["a", "bb", "ccc"]), min_size=1, max_size=6).map(" ".join)
turns = st.builds(Message, st.sampled_from(["system", "user", "assistant"]), contents)


@given(st.lists(turns, max_size=10), contents, st.integers(1, 40), st.integers(1, 8))
def test_trimming_keeps_the_system_prompts_and_the_last_question(
    before: list[Message], question: str, window: int, new_tokens: int
) -> None:
    conversation = [*before, Message("user", question)]
    backend = ScriptedBackend(["x"], context_window=window)
    generator = TextGenerator(backend)
    must_stay = [turn for turn in conversation[:-1] if turn.role == "system"] + [conversation[-1]]
    try:
        kept = generator.trimmed(conversation, new_tokens)
    except UserError:
        assert backend.count_tokens(must_stay) + new_tokens > window
        return
    assert backend.count_tokens(kept) + new_tokens <= window
    assert [turn for turn in kept if turn.role == "system"] == must_stay[:-1]
    assert kept[-1] is conversation[-1]
    # Beside the system prompts, what is kept is an unbroken run up to the end.
    spoken, kept_spoken = ([turn for turn in each if turn.role != "system"] for each in (conversation, kept))
    assert kept_spoken == spoken[len(spoken) - len(kept_spoken) :]
    if len(kept) < len(conversation):
        assert kept_spoken[0].role == "user"
        # It is the longest such run: with one exchange more it would not fit.
        earlier = spoken[: len(spoken) - len(kept_spoken)]
        starts = [index for index, turn in enumerate(earlier) if turn.role == "user"]
        if starts:
            longer = must_stay[:-1] + spoken[starts[-1] :]
            assert backend.count_tokens(longer) + new_tokens > window


def test_what_comes_after_the_last_question_stays() -> None:
    conversation = [Message("user", "a a a a"), Message("user", "write"), Message("assistant", "Once upon")]
    assert TextGenerator(ScriptedBackend(["x"], context_window=8)).trimmed(conversation, 2) == conversation[1:]


def test_a_question_that_is_too_long_is_refused_and_not_cut() -> None:
    conversation = [Message("system", "be brief"), Message("user", "a b c d e f")]
    with pytest.raises(UserError) as caught:
        TextGenerator(ScriptedBackend(["x"], context_window=12)).chat(conversation, DecodingConfig(max_new_tokens=4))
    assert str(caught.value) == (
        "the system prompt and the last turn have 10 tokens; with --decoding.max_new_tokens 4 that is more than the 12 "
        "tokens of scripted's context. Shorten one of them, or lower --decoding.max_new_tokens."
    )


def test_a_message_that_is_too_long_is_blamed_alone() -> None:
    generator, long = TextGenerator(ScriptedBackend(["x"], context_window=12)), [Message("user", "a " * 12)]
    with pytest.raises(UserError) as caught:
        generator.chat(long, DecodingConfig(max_new_tokens=4))
    assert str(caught.value) == (
        "the last turn has 13 tokens; with --decoding.max_new_tokens 4 that is more than the 12 tokens of scripted's "
        "context. Shorten it, or lower --decoding.max_new_tokens."
    )
    with pytest.raises(UserError) as caught:
        generator.chat(long, DecodingConfig(max_new_tokens=None))
    assert str(caught.value) == (
        "the last turn has 13 tokens: no room for an answer is left in the 12 tokens of scripted's context. Shorten it."
    )


def test_an_answer_of_what_fits_is_left_its_default_or_half_of_the_context() -> None:
    earlier, question = [Message("user", "a b c"), Message("assistant", "d")], Message("user", "and you")
    generator = TextGenerator(ScriptedBackend(["w " * 99], context_window=14, repeat=True))
    # 9 tokens: half of the context is 7, so that the first exchange stays only where 5 are enough.
    fits = DecodingConfig(max_new_tokens=None, default_new_tokens=5)
    assert generator.fitted([*earlier, question], fits) == [*earlier, question]
    assert generator.fitted([*earlier, question], replace(fits, default_new_tokens=99)) == [question]
    assert generator.chat([*earlier, question], fits).new_tokens == 5
    # What must stay may take all but one token.
    assert generator.chat([Message("user", "a " * 12)], replace(fits, default_new_tokens=99)).new_tokens == 1
    with pytest.raises(UserError, match=r"with --decoding\.max_new_tokens 5 that is more than"):
        generator.chat([Message("user", "a " * 12)], replace(fits, max_new_tokens=5))


def test_a_conversation_without_a_question() -> None:
    with pytest.raises(UserError) as caught:
        TextGenerator(ScriptedBackend(["x"])).chat([Message("assistant", "hello")])
    assert str(caught.value) == "the conversation has no turn of the user: there is nothing to answer."


def test_chat_sends_the_trimmed_conversation() -> None:
    backend = ScriptedBackend(["fine"] * 2, context_window=9)
    generator = TextGenerator(backend)
    conversation = [Message("user", "a b c d e f"), Message("assistant", "x"), Message("user", "and you")]
    assert generator.chat(conversation, DecodingConfig(max_new_tokens=3)).text == "fine"
    assert list(generator.stream_chat(conversation, DecodingConfig(max_new_tokens=3))) == ["fine"]
    assert backend.asked == [conversation[2:]] * 2


def test_failures_are_tried_again() -> None:
    generator = TextGenerator(ScriptedBackend(["one two"] * 3, failures=2), retry=AT_ONCE)
    assert generator.generate("x").text == "one two"
    generator = TextGenerator(ScriptedBackend(["one two"], failures=2), retry=AT_ONCE)
    assert list(generator.stream("x")) == ["one", " two"]
    generator = TextGenerator(ScriptedBackend([], failures=1, likelihood=lambda prompt, text: 2.0), retry=AT_ONCE)
    assert generator.likelihood([("a", "b")])[0].nats == 2.0


def test_a_back_end_that_fails_for_good_is_one_line() -> None:
    for ask in (lambda g: g.generate("x"), lambda g: list(g.stream("x"))):
        with pytest.raises(UserError) as caught:
            ask(TextGenerator(ScriptedBackend(["x"], failures=9), retry=AT_ONCE))
        assert str(caught.value) == "the back end 'scripted' was told to fail (tried 3 times)."


class BreakingBackend(ScriptedBackend):
    """Its streams break off after the first piece."""

    closed = False

    def stream(self, prompt: Prompt, decoding: DecodingConfig, seed: int = 0) -> Iterator[str]:
        try:
            yield "One"
            raise BackendError("the line is dead")
        finally:
            self.closed = True


def test_a_stream_that_has_begun_is_not_begun_again() -> None:
    stream = TextGenerator(BreakingBackend([]), retry=AT_ONCE).stream("x")
    assert next(stream) == "One"
    with pytest.raises(UserError, match=r"^the line is dead\.$"):
        next(stream)


def test_a_stream_that_is_left_is_closed() -> None:
    backend = BreakingBackend([])
    stream = TextGenerator(backend).stream("x")
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert backend.closed


def test_a_stream_ends_when_its_time_is_over() -> None:
    stream = TextGenerator(ScriptedBackend(["one two three"]), timeout=1e-9).stream("x")
    assert next(stream) == "one"
    with pytest.raises(UserError) as caught:
        next(stream)
    assert str(caught.value) == "scripted was not done within 1e-09 seconds: the answer ends early."
    with pytest.raises(ValueError, match="timeout 0 must be above 0 seconds"):
        TextGenerator(ScriptedBackend([]), timeout=0)


@pytest.mark.parametrize(("timeout", "total", "tries"), [(3.0, 100.0, 3), (100.0, 3.0, 3), (100.0, 100.0, 10)])
def test_the_stricter_limit_of_time_holds(timeout: float, total: float, tries: int) -> None:
    waits: list[float] = []
    settings: dict[str, Any] = {"sleep": waits.append, "draw": lambda: 0.0, "clock": lambda: sum(waits)}
    # Each wait is half of 2 seconds: of attempts that take no time, the fourth would begin after 3 seconds.
    policy = RetryPolicy(retries=9, first_wait=2.0, longest_wait=2.0, total=total - 0.5, **settings)
    with pytest.raises(UserError) as caught:
        TextGenerator(ScriptedBackend(["x"], failures=99), retry=policy, timeout=timeout - 0.5).generate("x")
    assert str(caught.value) == f"the back end 'scripted' was told to fail (tried {tries} times)."


def test_the_settings_limit_the_time(tmp_path: Path) -> None:
    script = tmp_path / "answers.txt"
    script.write_text("one two three")
    with open_generator(BackendConfig(kind="scripted", model=str(script), total_timeout=1e-9)) as generator:
        stream = generator.stream("x")
        assert next(stream) == "one"
        with pytest.raises(UserError, match=r"^answers was not done within 1e-09 seconds: the answer ends early\.$"):
            next(stream)
    with pytest.raises(ValueError, match=r"^--backend\.total_timeout 0 must be above 0 seconds, or None for no limit$"):
        BackendConfig(total_timeout=0)


def test_nothing_asked_is_nothing_answered() -> None:
    generator = TextGenerator(ScriptedBackend([], failures=9))
    assert generator.generate_many([]) == []
    assert generator.likelihood([]) == []
    assert generator.count_tokens("a b") == 2


def test_a_script_is_opened_from_a_file(tmp_path: Path) -> None:
    script = tmp_path / "answers.txt"
    script.write_text("first\n\nsecond\n")
    with open_generator(BackendConfig(kind="scripted", model=str(script))) as generator:
        assert [generator.generate("x").text for _ in range(3)] == ["first", "second", "first"]
        assert generator.name == "answers"
    script.write_text("\n")
    with pytest.raises(UserError) as caught:
        open_backend(BackendConfig(kind="scripted", model=str(script)))
    assert str(caught.value) == f"--backend.model {script}: holds no answer. Write one on each line."
    with pytest.raises(UserError, match="cannot be read as a script of answers, one a line"):
        open_backend(BackendConfig(kind="scripted", model=str(tmp_path / "none")))


def test_a_key_is_needed_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(UserError) as caught:
        open_backend(BackendConfig(kind="openai", model="m", api_key_env="MY_KEY"))
    assert str(caught.value) == (
        "api.openai.com needs a key, and the environment variable MY_KEY holds none. Set it, or name another with "
        "--backend.api_key_env."
    )
    config = BackendConfig(kind="openai", model="m", api_key_env="MY_KEY", base_url="http://localhost:9/v1")
    with open_generator(config) as generator:
        assert generator.name == "m"
        assert generator.backend.context_window == 8192
