"""The commands from end to end with the real encoder: ingest, ask, search, chat, documents, delete; and mistakes."""

import io
import json
from pathlib import Path

import pytest

from rag_qa.cli import COMMANDS, main
from rag_qa.commands.chat import read_history
from roadmap_shared.errors import UserError

from .command_files import HANDBOOK, ingested, write_folder

NO_INDEX = "gone: holds no index: make one with `rag-qa ingest DOCUMENTS --index gone`"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index that no test changes."""
    return ingested(tmp_path_factory.mktemp("commands"))


def output(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command prints that succeeds."""
    assert main(arguments) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a command that fails, without the command's name."""
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1, said.err
    return said.err.strip().removeprefix(f"rag-qa {arguments[0]}: ")


def test_every_kind_of_file_is_read_and_the_others_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    docs, index = write_folder(tmp_path / "docs"), str(tmp_path / "index")
    dry = output(capsys, "ingest", str(docs), "--index", index, "--dry_run", "True")
    assert dry.startswith("dry run: 6 added, 0 changed, 0 removed, 0 unchanged, 0 duplicates, 2 refused; ")
    assert not Path(index).exists()
    said = output(capsys, "ingest", str(docs), "--index", index)
    assert said.startswith("6 added, 0 changed, 0 removed, 0 unchanged, 0 duplicates, 2 refused; ")
    assert "  refused: locked.pdf: is encrypted: give its password with --password\n" in said
    assert "  refused: broken.pdf: is damaged: PDFium finds no PDF document in it\n" in said
    (docs / "ferry.txt").unlink()
    (docs / "broken.pdf").unlink()
    (docs / "handbook.md").write_text(HANDBOOK.replace("20 megabytes", "30 megabytes"))
    flags = ("--index", index, "--password", "secret")
    dry = output(capsys, "ingest", str(docs), *flags, "--dry_run", "True")
    assert dry.startswith("dry run: 1 added, 1 changed, 1 removed, 4 unchanged, 0 duplicates, 0 refused; ")
    assert "  would be removed: ferry.txt\n" in dry
    listed = output(capsys, "documents", "--index", index)
    assert "    -       1  public  ferry.txt\n" in listed
    assert "    1       1  public  bridge.pdf\n" in listed
    assert listed.endswith("6 documents, encoder minilm\n")
    said = output(capsys, "ingest", str(docs), *flags)
    assert said.startswith("1 added, 1 changed, 1 removed, 4 unchanged, 0 duplicates, 0 refused; ")
    sources = [json.loads(line)["source"] for line in output(capsys, "documents", "--index", index, "--json", "True").splitlines()]  # fmt: skip # noqa: E501
    assert sources == ["bridge.pdf", "handbook.md", "lighthouse.txt", "locked.pdf", "museum.html", "prices.csv"]


def test_an_answer_with_its_citation(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    question = "Who built the lighthouse of Brixen?"
    said = output(capsys, "ask", question, "--index", str(index))
    assert said.startswith("The lighthouse of Brixen was built in 1873 by the engineer Maria Holt. [1]\n")
    assert "[1] lighthouse.txt, characters 0-70\n" in said
    answer = json.loads(output(capsys, "ask", question, "--index", str(index), "--json", "True"))
    citation = answer["statements"][0]["citations"][0]
    assert (citation["source"], citation["start"], citation["end"]) == ("lighthouse.txt", 0, 70)
    assert not answer["refused"]
    assert 0.3 < answer["confidence"] <= 1
    pdf = output(capsys, "ask", "What loads does the old bridge carry?", "--index", str(index))
    assert "eleven tonnes" in pdf
    assert "bridge.pdf, page 1" in pdf


def test_a_refusal_names_the_nearest_documents(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = output(capsys, "ask", "Which enzymes digest starch in the mouth?", "--index", str(index))
    assert "nearest documents: " in said
    assert "[1]" not in said


def test_search_shows_each_stage(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = output(capsys, "search", "price of a family pass", "--index", str(index), "--retrieval.k", "2")
    assert said.startswith("1. prices.csv\n")
    assert "sparse #1" in said
    assert "dense #" in said
    assert "fused #1" in said
    lines = output(
        capsys, "search", "family pass", "--index", str(index), "--json", "True", "--source", "museum.html"
    ).splitlines()
    assert {json.loads(line)["chunk"]["source"] for line in lines} == {"museum.html"}


def test_a_conversation_goes_on(
    index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    history = tmp_path / "history.jsonl"
    lines = "Who built the lighthouse of Brixen?\n\n???\nWhat does its lamp burn?\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    assert main(["chat", "--index", str(index), "--history", str(history)]) == 0
    said = capsys.readouterr()
    assert "Maria Holt" in said.out
    assert "whale oil" in said.out
    assert "the question is empty" in said.err
    turns = read_history(history)
    assert [turn.question for turn in turns] == ["Who built the lighthouse of Brixen?", "What does its lamp burn?"]
    history.write_text(history.read_text() + "{}\n")
    with pytest.raises(UserError) as caught:
        read_history(history)
    assert str(caught.value) == (f"--history {history}, line 3: no turn of a conversation: mend or remove the line")


def test_what_is_deleted_is_not_found_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index = str(ingested(tmp_path))
    (tmp_path / "index" / "refusal.json").write_text("kept as it is")
    capsys.readouterr()
    said = output(capsys, "delete", "lighthouse.txt", "--index", index)
    assert said.startswith("deleted: lighthouse.txt (1 chunks)\n")
    assert ": nothing of them was found\n" in said
    (certificate,) = (tmp_path / "index-certificates").iterdir()
    record = json.loads(certificate.read_text())
    assert record["clean"]
    assert record["sources"] == ["lighthouse.txt"]
    assert "Maria" not in certificate.read_text()
    assert (tmp_path / "index" / "refusal.json").read_text() == "kept as it is"
    (tmp_path / "index" / "refusal.json").unlink()
    answer = json.loads(
        output(capsys, "ask", "Who built the lighthouse of Brixen?", "--index", index, "--json", "True")
    )
    assert answer["refused"]
    assert "lighthouse.txt" not in {item["chunk"]["source"] for item in answer["retrieved"]}
    assert refused(capsys, "delete", "lighthouse.txt", "--index", index) == (
        "lighthouse.txt: not in the index. `rag-qa documents` lists what is."
    )


def test_groups_decide_what_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index = str(ingested(tmp_path, "--groups", "harbour"))
    capsys.readouterr()
    assert output(capsys, "search", "lighthouse of Brixen", "--index", index) == "nothing found\n"
    assert "lighthouse.txt" in output(capsys, "search", "lighthouse", "--index", index, "--groups", "lab", "harbour")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ask", ""], 'the question is empty: write it in quotes, as in: ask "How is text split?"'),
        (["ask", " ?! "], 'the question is empty: write it in quotes, as in: ask "How is text split?"'),
        (["ask"], "question must be given: expected a text"),
        (["ask", "who", "built"], "unexpected argument 'built'. A text with spaces needs quotes; see --help."),
        (["ask", "who", "--indx", "x"], "unknown flag '--indx'. Did you mean '--index'?"),
        (["ask", "who", "--index", "gone"], NO_INDEX),
        (["chat", "--index", "gone"], NO_INDEX),
        (["search", "who", "--retrieval.k", "0"], "--retrieval.k 0 must be at least 1"),
        (["search", "who", "--groups", "a,b"], "--groups a,b: separate names by blanks, as in: --groups a b"),
        (["search", "who", "--groups", ""], "--groups has an empty name: leave it away, or name a group"),
        (["chat", "--groups", "a,b"], "--groups a,b: separate names by blanks, as in: --groups a b"),
        (["ingest"], "give files or folders, as in: ingest my-documents"),
        (["ingest", "gone"], "gone: cannot be read: No such file or directory"),
        (["ingest", "empty"], "empty: holds no file to read"),
        (["ingest", "a", "b"], "a/x.txt and b/x.txt: both would be called x.txt: ingest the folder above them, or one "
                               "at a time"),
        (["ingest", "a", "--groups"], "--groups needs at least one name; `public` is everybody"),
        (["ingest", "a", "--index", "a/x.txt"], "a/x.txt: cannot be made (File exists)"),
        (["chat", "--history", "empty"], "--history empty: cannot be read (Is a directory)"),
        (["chat", "--history", "gone/x"], "--history gone/x: there is no folder gone"),
        (["chat", "--history", "latin"], "--history latin: is not UTF-8: give another file"),
        (["documents", "--index", "gone"], NO_INDEX),
        (["delete"], "name a document, as in: delete guides/chunking.md; `documents` lists them"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "empty"):
        (tmp_path / name).mkdir()
    for name in ("a", "b"):
        (tmp_path / name / "x.txt").write_text(f"{name} is a letter")
    (tmp_path / "latin").write_bytes(b'{"question": "caf\xe9"}\n')
    assert refused(capsys, *arguments) == message
    assert not (tmp_path / "rag-index").exists()


def test_mistakes_about_an_index(index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    on = ("--index", str(index))
    assert refused(capsys, "ask", "who", *on, "--source", "lighthous.txt") == (
        "lighthous.txt: not in the index. Did you mean 'lighthouse.txt'?"
    )
    (tmp_path / "empty").mkdir()
    assert main(["ingest", str(tmp_path / "empty"), *on]) == 2
    assert capsys.readouterr().err.endswith(f"rag-qa ingest: {tmp_path / 'empty'}: holds no file to read\n")
    other = refused(capsys, "ask", "who", *on, "--encoder.query_prompt", "query: ")
    assert other.startswith(f"{index}: its vectors were made by the encoder minilm")
    assert other.endswith("or ingest again into an empty folder")


def test_a_file_can_be_ingested_alone_and_twice_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "one.txt"
    file.write_text("The gate is painted green every spring.\n")
    index = str(tmp_path / "index")
    said = output(capsys, "ingest", str(file), str(file), "--index", index)
    assert said.startswith("1 added,")
    assert f"{index}: 1 document, 1 chunk\n" in said


@pytest.mark.parametrize("command", [command.name for command in COMMANDS])
def test_help_shows_every_setting(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = output(capsys, command, "--help")
    assert said.startswith(f"usage: rag-qa {command} ")
    assert "MISSING" not in said
