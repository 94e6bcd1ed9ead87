"""What all back ends share: stop sequences, checks of prompts, trying again, and the scripted one."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadmap_shared.errors import UserError
from text_generation.backends.openai_client import OpenAIBackend
from text_generation.backends.prompts import check_prompts, plain_conversation
from text_generation.backends.retrying import GaveUpError, RetryPolicy, TemporaryError
from text_generation.backends.scripted import ScriptedBackend, words
from text_generation.backends.stopping import StopScanner, cut_at_stop
from text_generation.backends.types import Backend, BackendError, Message
from text_generation.config.backend import BackendConfig
from text_generation.config.decoding import DecodingConfig
from text_generation.prompting.call_log import LoggedBackend

few_letters = st.text("ab\n", max_size=12)


@given(st.lists(few_letters, max_size=8), st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3))
def test_stop_scanner_shows_what_stands_before_the_stop(pieces: list[str], stop: list[str]) -> None:
    scanner = StopScanner(stop)
    shown = [scanner.push(piece) for piece in pieces]
    text, found = cut_at_stop("".join(pieces), stop)
    so_far = "".join(shown)
    assert text.startswith(so_far)
    assert so_far + scanner.flush() == text
    assert scanner.stopped == found


@given(st.lists(few_letters, min_size=1, max_size=8), st.text("ab\n", min_size=1, max_size=4))
def test_stop_scanner_holds_back_no_more_than_it_must(pieces: list[str], stop: str) -> None:
    scanner = StopScanner([stop])
    shown = "".join(scanner.push(piece) for piece in pieces)
    whole, found = cut_at_stop("".join(pieces), [stop])
    if not found:
        held = whole[len(shown) :]
        assert stop.startswith(held)


def test_the_first_of_several_stops_counts() -> None:
    assert cut_at_stop("one two three", ["three", "two"]) == ("one ", True)
    assert cut_at_stop("one", []) == ("one", False)
    assert cut_at_stop("xyab!", ["yab!", "a"]) == ("xy", True)  # "a" is complete while "yab!" is not
    assert cut_at_stop("xyab", ["b", "yab"]) == ("x", True)


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        check_prompts(["fine", ""])
    assert str(caught.value) == "prompt 2 of 2 is empty. Give the model at least one word to go on with."
    with pytest.raises(UserError, match="prompt 1 of 1 is empty"):
        check_prompts([[Message("user", "  ")]])


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        check_prompts([[Message("robot", "hello")]])  # type: ignore[arg-type]
    assert str(caught.value) == "prompt 1 of 1 has a turn with the role 'robot'. Roles are system, user, assistant."


def test_plain_conversation() -> None:
    turns = [Message("system", "Be brief."), Message("user", "Hello!")]
    assert plain_conversation(turns) == "System: Be brief.\n\nUser: Hello!\n\nAssistant:"


@given(st.text(" \nab", max_size=20))
def test_words_join_to_the_text(text: str) -> None:
    assert "".join(words(text)) == text
    assert len(words(text)) == max(len(text.split()), 1 if text else 0)


def test_scripted_answers_in_order_and_stops() -> None:
    backend = ScriptedBackend(["one two three", "four END five"])
    first, second = backend.generate(["a b", "c"], DecodingConfig(max_new_tokens=2, stop=("END",)))
    assert (first.text, first.finish_reason, first.prompt_tokens, first.new_tokens) == ("one two", "length", 2, 2)
    assert (second.text, second.finish_reason, second.tokens) == ("four ", "stop", ("four ",))
    assert backend.asked == ["a b", "c"]
    with pytest.raises(RuntimeError, match="the script has 2 answers, and one more was asked for"):
        backend.generate(["d"], DecodingConfig())


def test_scripted_streams_what_it_generates() -> None:
    backend = ScriptedBackend(lambda prompt: f"you said: {prompt}")
    assert list(backend.stream("hi there", DecodingConfig())) == ["you", " said:", " hi", " there"]


def test_scripted_repeats_where_it_is_told() -> None:
    backend = ScriptedBackend(["a", "b"], repeat=True)
    assert [answer.text for answer in backend.generate(["x"] * 3, DecodingConfig())] == ["a", "b", "a"]


def test_scripted_fails_as_often_as_it_is_told() -> None:
    backend = ScriptedBackend(["done"], failures=2)
    for _ in range(2):
        with pytest.raises(BackendError):
            backend.generate(["x"], DecodingConfig())
    assert backend.generate(["x"], DecodingConfig())[0].text == "done"


def test_scripted_likelihood() -> None:
    backend = ScriptedBackend([], likelihood=lambda prompt, text: float(len(text)))
    (found,) = backend.likelihood([("a", "né e")])
    assert (found.nats, found.n_tokens, found.n_bytes) == (4.0, 2, 5)
    with pytest.raises(UserError, match="cannot tell how probable a text is"):
        ScriptedBackend([]).likelihood([("a", "b")])


def test_a_prompt_without_room_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        ScriptedBackend(["x"], context_window=6).generate(["a b c"], DecodingConfig(max_new_tokens=4))
    assert str(caught.value) == (
        "prompt 1 of 1 has 3 tokens; with --decoding.max_new_tokens 4 that is more than the 6 tokens of scripted's "
        "context. Shorten the prompt or lower --decoding.max_new_tokens."
    )


def waits_of(errors: Sequence[BackendError], **policy: float) -> tuple[list[float], str]:
    """The waits of a policy whose attempts fail so, and the result."""
    waits: list[float] = []
    left = list(errors)

    def attempt() -> str:
        if left:
            raise left.pop(0)
        return "done"

    settings = RetryPolicy(sleep=waits.append, draw=lambda: 0.5, clock=lambda: sum(waits), **policy)  # type: ignore[arg-type]
    try:
        return waits, settings.call(attempt)
    except GaveUpError as error:
        return waits, str(error)


def test_waits_double_up_to_the_longest() -> None:
    waits, result = waits_of([TemporaryError("no")] * 5, retries=5, first_wait=1.0, longest_wait=5.0)
    assert waits == [0.75, 1.5, 3.0, 3.75, 3.75]
    assert result == "done"


def test_retry_after_replaces_the_wait() -> None:
    assert waits_of([TemporaryError("busy", retry_after=7.0)]) == ([7.0], "done")


def test_a_retry_after_of_hours_is_not_waited_for() -> None:
    assert waits_of([TemporaryError("busy", retry_after=3600.0)]) == ([], "busy (tried once)")


def test_it_gives_up_and_says_how_often_it_tried() -> None:
    waits, result = waits_of([TemporaryError("no answer")] * 9, retries=2)
    assert len(waits) == 2
    assert result == "no answer (tried 3 times)"


def test_no_attempt_begins_after_the_time_is_over() -> None:
    waits, result = waits_of([TemporaryError("no")] * 9, retries=9, first_wait=4.0, longest_wait=100.0, total=10.0)
    assert waits == [3.0, 6.0]
    assert result == "no (tried 3 times)"


def test_what_gave_up_is_not_tried_again() -> None:
    assert waits_of([GaveUpError("no (tried 5 times)")]) == ([], "no (tried 5 times)")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": ""}, "--backend.model is empty: give a folder, a hub id or the server's name for the model"),
        (
            {"kind": "openai", "base_url": "localhost:8000"},
            "--backend.base_url localhost:8000 must begin with http:// or https://",
        ),
        ({"batch_size": 0}, "--backend.batch_size 0 must be at least 1"),
        ({"timeout": 0.0}, "--backend.timeout 0.0 must be above 0 seconds"),
        ({"retries": -1}, "--backend.retries -1 must be at least 0"),
    ],
)
def test_settings_that_make_no_sense(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        BackendConfig(**settings)


def test_who_counts_tokens_exactly(tmp_path: Path) -> None:
    server = OpenAIBackend("tiny", base_url="http://127.0.0.1:1/v1")
    server.close()
    exact: list[Backend] = [ScriptedBackend([]), LoggedBackend(ScriptedBackend([]), tmp_path / "calls.jsonl")]
    estimating: list[Backend] = [server, LoggedBackend(server, tmp_path / "others.jsonl")]
    assert all(backend.counts_exactly for backend in exact)
    assert not any(backend.counts_exactly for backend in estimating)
