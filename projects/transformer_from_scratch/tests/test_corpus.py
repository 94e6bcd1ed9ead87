"""Reading texts, holding a part out, and drawing windows."""

import gzip
from pathlib import Path

import pytest
import torch

from roadmap_shared.errors import UserError
from roadmap_shared.offline import python_reference
from transformer_from_scratch.config import CorpusConfig
from transformer_from_scratch.corpus import Windows, load_corpus, random_seed, read_path


def corpus_of(path: Path, context: int = 8, **settings: object):
    return load_corpus(CorpusConfig(path=path, **settings), context)  # type: ignore[arg-type]


def test_builtin_text_is_the_python_reference() -> None:
    corpus = load_corpus(CorpusConfig(), context=128)
    text = python_reference().text
    joined = torch.cat((corpus.train, corpus.validation)).tolist()
    assert corpus.tokenizer.decode(joined) == text
    assert len(corpus.train) == int(0.9 * len(text))
    assert corpus.n_validation_characters == len(text) - len(corpus.train)


def test_split_is_at_the_share_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("日本 🙂 abc\r\n" * 40, newline="")
    corpus = corpus_of(path, validation_share=0.25)
    text = path.read_bytes().decode()
    assert corpus.tokenizer.decode(corpus.train.tolist()) == text[: int(0.75 * len(text))]
    assert corpus.tokenizer.decode(corpus.validation.tolist()) == text[int(0.75 * len(text)) :]
    assert corpus.n_validation_bytes == len(text[int(0.75 * len(text)) :].encode())


def test_subword_tokenizers_never_see_the_validation_part(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("abab " * 200 + "xyxy " * 100)
    corpus = corpus_of(path, tokenizer="bpe", vocabulary=300, validation_share=0.4)
    tokens = {corpus.tokenizer.token_text(token) for token in range(corpus.tokenizer.vocab_size)}
    assert any("ab" in token for token in tokens)
    assert not any("xy" in token for token in tokens)


def test_folder_and_gzip_give_the_same_text_in_the_order_of_names(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("second")
    with gzip.open(tmp_path / "a.txt.gz", "wt") as file:
        file.write("first")
    (tmp_path / "picture.png").write_bytes(b"\0\1")
    assert read_path(tmp_path).text == "first\n\nsecond"


def test_byte_order_mark_is_no_character(tmp_path: Path) -> None:
    path = tmp_path / "bom.txt"
    path.write_bytes(b"\xef\xbb\xbfabc")
    assert read_path(path).text == "abc"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", b"", "empty, there is nothing to train on"),
        ("blank.txt", b" \n\n ", "empty, there is nothing to train on"),
        ("binary.txt", b"abc\0def", "binary data (a zero byte at offset 3), not text"),
        ("latin.txt", "naïve".encode("latin1"), "not UTF-8 (byte 0xef at offset 2); convert it first"),
        ("plain.gz", b"not gzip at all", "damaged gzip file"),
        # Without a fixed time the bytes, and with them the test's name, would change from second to second.
        ("cut.gz", gzip.compress(b"abc" * 1000, mtime=0)[:20], "damaged gzip file"),
        ("short.txt", b"abcdefghij", "its validation part has 1 tokens, but --model.context 8 needs at least 9"),
        ("one.txt", b"a", "1 characters are too few"),
    ],
)
def test_unusable_file_is_named_with_its_reason(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        corpus_of(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_missing_file_and_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.txt: no such file or folder; give a UTF-8 text file"):
        read_path(tmp_path / "nothing.txt")
    with pytest.raises(UserError, match="no text files in this folder"):
        read_path(tmp_path)


def test_windows_of_an_epoch_cover_each_token_once() -> None:
    windows = Windows(torch.arange(1003), context=10, seed=5)
    n_steps = windows.per_epoch // 3
    targets = torch.cat([windows.batch(step, 3)[1].flatten() for step in range(n_steps)])
    assert len(targets) == len(set(targets.tolist())) == n_steps * 30
    inputs, targets = windows.batch(0, 3)
    assert torch.equal(inputs + 1, targets)


def test_windows_depend_on_seed_and_step_alone() -> None:
    ids = torch.arange(5000)
    first, second = Windows(ids, 16, seed=1), Windows(ids, 16, seed=1)
    for step in (400, 3, 977):  # in any order, over several epochs
        assert torch.equal(first.batch(step, 4)[0], second.batch(step, 4)[0])
    assert not torch.equal(first.batch(0, 4)[0], Windows(ids, 16, seed=2).batch(0, 4)[0])
    one_epoch = first.per_epoch // 4
    assert not torch.equal(first.batch(0, 4)[0], first.batch(one_epoch, 4)[0]), "another order each epoch"


@pytest.mark.parametrize("n_tokens", [9, 10, 17, 18, 30])
def test_windows_of_short_texts_stay_inside(n_tokens: int) -> None:
    windows = Windows(torch.arange(n_tokens), context=8, seed=0)
    for step in range(20):
        inputs, targets = windows.batch(step, 2)
        assert inputs.shape == targets.shape == (2, 8)
        assert int(targets.max()) < n_tokens


def test_random_seeds_do_not_collide() -> None:
    seeds = {random_seed(run, step) for run in range(100) for step in range(100)} | {random_seed(n) for n in range(100)}
    assert len(seeds) == 10_100
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_hub_name_without_the_package_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(UserError, match=r"--data\.name someone/texts needs the package datasets: pip install"):
        load_corpus(CorpusConfig(name="someone/texts"), context=8)


class FakeDatasets:
    """As much of the package `datasets` as is used."""

    @staticmethod
    def load_dataset(name: str, split: str):
        if name != "someone/texts":
            raise ConnectionError("Couldn't reach the Hub\nlong explanation")

        class Rows(dict):
            column_names = ("text", "label")

        return Rows(text=[f"{split} row {n}" for n in range(3)])


def test_hub_data_set_becomes_one_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasets", FakeDatasets)
    corpus = load_corpus(CorpusConfig(name="someone/texts", split="test", validation_share=0.5), context=8)
    joined = torch.cat((corpus.train, corpus.validation)).tolist()
    assert corpus.tokenizer.decode(joined) == "test row 0\n\ntest row 1\n\ntest row 2"
    with pytest.raises(UserError, match=r"no column 'body'; --data\.column can be text, label"):
        load_corpus(CorpusConfig(name="someone/texts", column="body"), context=8)
    with pytest.raises(UserError, match=r"cannot be loaded \(Couldn't reach the Hub\); check the name and the network"):
        load_corpus(CorpusConfig(name="someone/else"), context=8)
