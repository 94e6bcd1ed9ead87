"""Chat sessions: what is said, kept, taken back, interrupted and resumed."""

import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadmap_shared.errors import UserError
from text_generation.backends.retrying import RetryPolicy
from text_generation.backends.scripted import ScriptedBackend
from text_generation.backends.types import BackendError, Message, Prompt
from text_generation.config.backend import BackendConfig
from text_generation.config.decoding import DecodingConfig
from text_generation.config.writing import ChatConfig
from text_generation.text_generator import TextGenerator
from text_generation.writing import commands
from text_generation.writing.history import History
from text_generation.writing.locks import locked
from text_generation.writing.session import ChatSession
from text_generation.writing.terminal import HELP, ChatTerminal, Typed, harmless, read_line_of, read_turn

AT_ONCE = RetryPolicy(retries=0, sleep=lambda seconds: None)


def chat(
    folder: Path,
    typed: str | list[str | type[BaseException]],
    backend: ScriptedBackend,
    *,
    interactive: bool = True,
) -> tuple[str, str, History]:
    """Run a session on what is typed; an exception among it is raised where it stands."""
    lines = iter(typed.splitlines() if isinstance(typed, str) else typed)

    def read_line(prompt: str) -> str:
        line = next(lines, EOFError)
        if isinstance(line, str):
            return line
        raise line

    out, notes = io.StringIO(), io.StringIO()
    history = History(folder / "chat.jsonl")
    session = ChatSession(TextGenerator(backend, retry=AT_ONCE), history)
    ChatTerminal(session, read_line, out, notes, interactive=interactive, on_terminal=interactive).run()
    return out.getvalue(), notes.getvalue(), history


def said(history: History) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in history.messages()]


def test_a_conversation_is_kept_line_by_line_and_gone_on_with(tmp_path: Path) -> None:
    out, _, _ = chat(tmp_path, "hello\nand you?", ScriptedBackend(["good day", "fine"]))
    assert out == "good day\nfine\n"
    records = [json.loads(line) for line in (tmp_path / "chat.jsonl").read_text().splitlines()]
    assert [(each["id"], each["role"], each["content"]) for each in records] == [
        (1, "user", "hello"),
        (2, "assistant", "good day"),
        (3, "user", "and you?"),
        (4, "assistant", "fine"),
    ]
    backend = ScriptedBackend(["bye"])
    chat(tmp_path, "go", backend)
    assert backend.asked == [
        [
            Message("user", "hello"),
            Message("assistant", "good day"),
            Message("user", "and you?"),
            Message("assistant", "fine"),
            Message("user", "go"),
        ]
    ]


def test_undo_and_retry_survive_the_end_of_the_session(tmp_path: Path) -> None:
    backend = ScriptedBackend(["one", "two", "three", "four"])
    out, notes, history = chat(tmp_path, "a\nb\n/undo\nc\n/retry", backend)
    assert out == "one\ntwo\nthree\nfour\n"
    assert notes == "taken back: b\n\n"
    expected = [("user", "a"), ("assistant", "one"), ("user", "c"), ("assistant", "four")]
    assert said(history) == said(History(tmp_path / "chat.jsonl")) == expected
    # Nothing that was said is gone from the file.
    assert "two" in (tmp_path / "chat.jsonl").read_text()


def test_another_answer_is_drawn_with_another_seed(tmp_path: Path) -> None:
    class Seeds(ScriptedBackend):
        def stream(self, prompt: Prompt, decoding: DecodingConfig, seed: int = 0) -> Iterator[str]:
            seeds.append(seed)
            yield "" if seeds[1:2] == [seed] else "x"

    seeds: list[int] = []
    chat(tmp_path, "a\n/retry\n/retry\n/retry\nb", Seeds([]))
    assert len(set(seeds)) == 5


def test_commands_that_have_nothing_to_do(tmp_path: Path) -> None:
    _, notes, history = chat(
        tmp_path, "/undo\n/retry\n/system\n/hepl\n/dance\n/help\n/quit\nnever said", ScriptedBackend([])
    )
    assert notes == (
        "there is nothing to take back\nthere is nothing to ask again\nsystem prompt: (none)\n"
        "unknown command /hepl. Did you mean '/help'? To say it to the model, begin with //.\n"
        "unknown command /dance. /help lists the commands. To say it to the model, begin with //.\n"
        f"{HELP}\n"
    )
    assert said(history) == []
    assert not (tmp_path / "chat.jsonl").exists()


def test_the_system_prompt(tmp_path: Path) -> None:
    backend = ScriptedBackend(["one", "two"])
    _, notes, history = chat(tmp_path, "/system Be brief.\na\n/system\n/system -\n//b", backend)
    assert backend.asked[0] == [Message("system", "Be brief."), Message("user", "a")]
    assert backend.asked[1] == [Message("user", "a"), Message("assistant", "one"), Message("user", "/b")]
    assert notes == "system prompt: Be brief.\nsystem prompt: Be brief.\nsystem prompt: (none)\n\n"
    assert History(tmp_path / "chat.jsonl").messages() == history.messages()


def test_turns_of_several_lines(tmp_path: Path) -> None:
    backend = ScriptedBackend(["x"] * 3)
    chat(tmp_path, 'a\\\nb\\\nc\n\n  \n"""\n/d\n\ne\n"""\nf\\', backend)
    asked = [prompt[-1].content for prompt in backend.asked if not isinstance(prompt, str)]
    # Within quotes a slash begins no command.
    assert asked == ["a\nb\nc", "/d\n\ne", "f"]


def test_a_turn_without_a_word_is_not_sent(tmp_path: Path) -> None:
    _, notes, history = chat(tmp_path, '"""\n"""', ScriptedBackend([]))
    assert notes == "(an empty turn is not sent)\n\n"
    assert said(history) == []


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(str.strip), max_size=4))
def test_a_block_gives_its_lines_back(lines: list[str]) -> None:
    typed = iter(['"""', *lines, '"""'])
    if '"""' not in [line.strip() for line in lines]:
        assert read_turn(lambda prompt: next(typed)) == Typed("\n".join(lines), is_block=True)


class Interrupted(ScriptedBackend):
    """Ctrl-C arrives before the piece of this number."""

    def __init__(self, answers: list[str], at: int) -> None:
        super().__init__(answers)
        self._at = at

    def stream(self, prompt: Prompt, decoding: DecodingConfig, seed: int = 0) -> Iterator[str]:
        for number, piece in enumerate(super().stream(prompt, decoding, seed)):
            if number == self._at:
                self._at = -1
                raise KeyboardInterrupt
            yield piece


def test_ctrl_c_stops_the_answer_and_not_the_session(tmp_path: Path) -> None:
    out, notes, history = chat(tmp_path, "a\nb", Interrupted(["one two three", "four"], at=2))
    assert out == "one twofour\n"
    assert notes == "\n(stopped; the answer so far is kept. /retry asks again, /undo takes your turn back)\n\n"
    assert said(history) == [("user", "a"), ("assistant", "one two"), ("user", "b"), ("assistant", "four")]
    turn = History(tmp_path / "chat.jsonl").turns[1]
    assert (turn.content, turn.interrupted) == ("one two", True)


def test_ctrl_c_before_the_first_word(tmp_path: Path) -> None:
    backend = Interrupted(["one", "two"], at=0)
    _, notes, history = chat(tmp_path, "a\nb", backend)
    assert "nothing was answered" in notes
    # Two turns of one side become one, as chat templates want the sides to alternate.
    assert backend.asked[-1] == [Message("user", "a\n\nb")]
    assert said(history) == [("user", "a\n\nb"), ("assistant", "two")]


def test_ctrl_c_at_the_prompt_and_ctrl_d(tmp_path: Path) -> None:
    out, notes, _ = chat(tmp_path, [KeyboardInterrupt, "a", "b\\", KeyboardInterrupt, EOFError], ScriptedBackend(["x"]))
    assert out == "x\n"
    assert notes == "\n(Ctrl-D or /quit ends the session)\n" * 2 + "\n"


def test_without_a_person_ctrl_c_ends_it_and_keeps_what_was_said(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        chat(tmp_path, "a", Interrupted(["one two three"], at=2), interactive=False)
    assert said(History(tmp_path / "chat.jsonl")) == [("user", "a"), ("assistant", "one two")]


class Failing(ScriptedBackend):
    """The server breaks off after one word."""

    def stream(self, prompt: Prompt, decoding: DecodingConfig, seed: int = 0) -> Iterator[str]:
        yield next(super().stream(prompt, decoding, seed))
        raise BackendError("the line went dead")


def test_a_failure_is_told_and_the_session_goes_on(tmp_path: Path) -> None:
    backend = ScriptedBackend(["one"], failures=1)
    out, notes, history = chat(tmp_path, "a\n/retry", backend)
    assert out == "one\n"
    assert notes == (
        "the back end 'scripted' was told to fail (tried once). /retry asks again, /undo takes your turn back.\n\n"
    )
    assert said(history) == [("user", "a"), ("assistant", "one")]
    with pytest.raises(UserError, match=r"^the line went dead\.$"):
        chat(tmp_path, "b", Failing(["two three"]), interactive=False)
    assert said(History(tmp_path / "chat.jsonl"))[2:] == [("user", "b"), ("assistant", "two")]


def test_an_empty_answer(tmp_path: Path) -> None:
    out, notes, history = chat(tmp_path, "a\n/retry", ScriptedBackend(["", "x"]))
    assert (out, notes) == ("\nx\n", "(an empty answer; /retry asks again)\n\n")
    assert said(history) == [("user", "a"), ("assistant", "x")]


def test_damaged_lines_are_named_and_skipped_and_a_copy_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    content = (
        '{"id": 1, "role": "user", "content": "a"}\n'
        "not JSON\n"
        '{"id": 2, "role": "assistant", "content": "b"}\n'
        '{"role": "robot", "content": "c"}\n'
        '{"role": "user", "content": 5}\n'
        '{"undo": "all"}\n'
        '{"id": true, "role": "user", "content": "x"}\n'
        "\n"
        '{"id": 3, "role": "user", "cont'
    )
    path.write_text(content)
    (tmp_path / "chat.jsonl.bak").write_text("an older copy")
    history = History(path)
    assert said(history) == [("user", "a"), ("assistant", "b")]
    assert history.repairs == [
        f"{path}, line 2: broken JSON (Expecting value); skipped",
        f"{path}, line 4: role must be one of system, user, assistant; skipped",
        f"{path}, line 5: content must be a text; skipped",
        f"{path}, line 6: undo must be a list of turns' numbers; skipped",
        f"{path}, line 7: id must be a whole number from 1 on; skipped",
        f"{path}, line 9: broken JSON (Unterminated string starting at); skipped",
        f"the file as it was is kept as {path}.bak2",
    ]
    assert (tmp_path / "chat.jsonl.bak2").read_text() == content
    assert History(path).repairs == []
    assert said(History(path)) == said(history)


def test_a_turn_is_undone_by_its_number_even_where_lines_are_gone(tmp_path: Path) -> None:
    chat(tmp_path, "a\nb\n/undo\nc", ScriptedBackend(["one", "two", "three"]))
    path = tmp_path / "chat.jsonl"
    lines = path.read_text().splitlines()
    lines[3] = "damaged"  # the answer that was taken back
    path.write_text("\n".join(lines))
    assert said(History(path)) == [("user", "a"), ("assistant", "one"), ("user", "c"), ("assistant", "three")]


def test_files_that_are_no_history(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("import os\n")
    with pytest.raises(UserError) as caught:
        History(path)
    assert str(caught.value) == (
        f"{path}, line 1: broken JSON (Expecting value); the file holds no conversation. Choose another --history."
    )
    assert path.read_text() == "import os\n"
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\)"):
        History(tmp_path)
    path.write_text('{"role": "user", "content": "made by hand"}\n{"role": "assistant", "content": "yes"}')
    history = History(path)
    history.add("user", "more")
    assert [turn.id for turn in History(path).turns] == [1, 2, 3]


def test_a_history_that_cannot_be_written(tmp_path: Path) -> None:
    history = History(tmp_path / "file" / "chat.jsonl")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as caught:
        history.add("user", "a")
    assert str(caught.value) == (
        f"{history.path}: cannot be written (File exists). Free some space, or choose another --history."
    )
    assert history.turns == []


actions = st.lists(st.one_of(st.sampled_from(["undo", "retry", "resume", "system"]), st.just("say")), max_size=12)


@settings(deadline=None, max_examples=12)
@given(actions)
def test_a_resumed_history_is_the_history(tmp_path_factory: pytest.TempPathFactory, actions: list[str]) -> None:
    path = tmp_path_factory.mktemp("chat") / "chat.jsonl"
    generator = TextGenerator(ScriptedBackend(lambda prompt: f"answer {len(prompt)}"))
    session = ChatSession(generator, History(path))
    model: list[str] = []  # what is left of the conversation, by hand
    for number, action in enumerate(actions):
        match action:
            case "say":
                list(session.say(f"turn {number}"))
                model += [f"turn {number}", "answer"]
            case "undo":
                session.undo()
                del model[-2:]
            case "retry" if model:
                list(session.retry())
            case "system":
                session.set_system(f"system {number}")
            case "resume":
                session = ChatSession(generator, History(path))
    assert [turn.content.split(" ")[0] for turn in session.history.turns] == [each.split(" ")[0] for each in model]
    assert [turn.content for turn in session.history.turns if turn.role == "user"] == model[::2]
    again = History(path)
    assert (again.turns, again.system, again.next_id) == (
        session.history.turns,
        session.history.system,
        session.history.next_id,
    )


def test_save(tmp_path: Path) -> None:
    markdown, as_json = tmp_path / "talk.md", tmp_path / "talk.json"
    typed = f"/system Be brief.\na\n/save {markdown}\n/save {markdown}\n/save {as_json}\n/save"
    _, notes, _ = chat(tmp_path, typed, ScriptedBackend(["one"]))
    assert markdown.read_text() == "## System\n\nBe brief.\n\n## You\n\na\n\n## Answer\n\none\n\n"
    assert json.loads(as_json.read_text())[1] == {"role": "user", "content": "a"}
    assert (tmp_path / "chat.md").exists()
    assert notes.count("saved as") == 4
    # What another session has saved is not overwritten.
    _, notes, _ = chat(tmp_path, f"/save {markdown}", ScriptedBackend([]))
    assert notes == f"{markdown} exists. Give another name: /save FILE\n\n"


def test_signs_that_would_steer_the_terminal() -> None:
    assert harmless("a\x1b[2Jb\tc\nd\u202e\r") == "a�[2Jb\tc\nd��"
    assert harmless("👨‍👩‍👧 café") == "👨‍👩‍👧 café"


def piped(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def script(folder: Path, *answers: str) -> BackendConfig:
    (folder / "answers.txt").write_text("\n".join(answers))
    return BackendConfig(kind="scripted", model=str(folder / "answers.txt"), retries=0)


def test_the_command_with_a_pipe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    piped("hello\r\n/system be brief\nand you?", monkeypatch)
    history = tmp_path / "deep" / "chat.jsonl"
    config = ChatConfig(history=history, system="S", backend=script(tmp_path, "good day", "fine"))
    commands.run_chat(config)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("good day\nfine\n", "system prompt: be brief\n")
    assert os.listdir(tmp_path / "deep") == ["chat.jsonl"]  # the lock is gone
    assert said(History(history))[0] == ("system", "be brief")
    with history.open("a") as file:
        file.write("{")
    piped("", monkeypatch)
    commands.run_chat(config)
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        f"{history}, line 7: broken JSON (Expecting property name enclosed in double quotes); skipped",
        f"the file as it was is kept as {history}.bak",
        f"going on with {history}, 4 turns",
    ]
    with locked(tmp_path / "deep" / ".chat.jsonl.lock", "x"), pytest.raises(UserError) as caught:
        commands.run_chat(config)
    assert str(caught.value) == f"{history}: another session writes there. End it, or choose another --history."
    # Without --history there is a new one.
    piped("hello", monkeypatch)
    commands.run_chat(ChatConfig(backend=config.backend))
    assert len(list((tmp_path / "runs/text_generation/chats").glob("*.jsonl"))) == 1


def test_bytes_that_are_no_text_do_not_end_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"caf\xe9\n")))
    commands.run_chat(ChatConfig(history=tmp_path / "c.jsonl", backend=script(tmp_path, "x")))
    assert said(History(tmp_path / "c.jsonl"))[0] == ("user", "caf\N{REPLACEMENT CHARACTER}")


def test_lines_of_a_pipe() -> None:
    read_line: Callable[[str], str] = read_line_of(io.StringIO("a\r\n\nb"))
    assert [read_line("> ") for _ in range(3)] == ["a", "", "b"]
    with pytest.raises(EOFError):
        read_line("> ")
