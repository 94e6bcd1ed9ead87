"""Terms: stems against Snowball's published vocabulary, Chinese words against jieba itself."""

import tempfile
import warnings
from pathlib import Path

import pytest

from rag_qa.retrieval.words import fold, query_terms, segment, stem, terms

# https://snowballstem.org/algorithms/english/stemmer.html, "A sample vocabulary"
SNOWBALL = {
    "consign": "consign", "consigned": "consign", "consignment": "consign", "consist": "consist",
    "consistency": "consist", "consistently": "consist", "consolation": "consol", "consolatory": "consolatori",
    "consoled": "consol", "consolidate": "consolid", "consoling": "consol", "conspicuous": "conspicu",
    "conspiracy": "conspiraci", "constable": "constabl", "constancy": "constanc", "knackeries": "knackeri",
    "knaves": "knave", "kneading": "knead", "kneeled": "kneel", "knees": "knee", "knew": "knew", "knife": "knife",
    "knightly": "knight", "knots": "knot",
}  # fmt: skip
SENTENCES = (
    "我来到北京清华大学",
    "他来到了网易杭研大厦",
    "小明硕士毕业于中国科学院计算所，后在日本京都大学深造",
    "结婚的和尚未结婚的",
    "《红楼梦》的作者是谁？",
    "上传的文件不能超过20MB。",
    "Python 语言的 with 语句如何工作？",
)


@pytest.mark.parametrize(("word", "expected"), SNOWBALL.items())
def test_stems_are_those_of_snowballs_sample_vocabulary(word: str, expected: str) -> None:
    assert stem(word) == expected


def test_segments_are_those_of_jieba(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where jieba keeps its cache
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import jieba
    jieba.setLogLevel("WARNING")
    reference = jieba.Tokenizer()
    for sentence in SENTENCES:
        assert segment(sentence) == reference.lcut(sentence)


def test_chinese_terms_are_characters_pairs_and_longer_words() -> None:
    assert terms("中国科学院") == ["中", "国", "科", "学", "院", "中国", "国科", "科学", "学院", "中国科学院"]
    assert terms("看红楼梦") == ["看", "红", "楼", "梦", "看红", "红楼", "楼梦", "红楼梦"]
    assert terms("猫") == ["猫"]
    assert terms("用Python写") == ["用", "python", "写"]


def test_identifiers_are_terms_and_so_are_their_parts() -> None:
    assert terms("on_disk_caches") == ["on_disk_cach", "on", "disk", "cach"]
    assert terms("caches", stemming=False) == ["caches"]


def test_stop_words_go_unless_there_is_nothing_else() -> None:
    assert query_terms("What is the cost?") == ["cost"]
    assert query_terms("What is it?") == ["what", "is", "it"]
    assert query_terms("the cost", without_stop_words=False) == ["the", "cost"]


def test_folding() -> None:
    assert fold("ＡＢＣ Ünïcode ﬁle İ") == "abc unicode file i"
    assert fold("が") == fold("か\u3099")  # composed again after accents have gone
