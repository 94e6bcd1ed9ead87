"""What does not count when answers are compared: the rules of SQuAD for English, of CMRC 2018 for Chinese."""

import re
import string

from rag_qa.document_processor.sentences import IDEOGRAPHS

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_IDEOGRAPH = re.compile(f"[{IDEOGRAPHS}]")

_CMRC_MARKS = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
"""The marks that CMRC 2018 leaves out. It names …… too, which has no effect, since it looks at single characters."""

_CMRC_TOKEN = re.compile(r"[\u4e00-\u9fa5]|[^\W\u4e00-\u9fa5]+|[^\w\s]")


def is_chinese(*texts: str) -> bool:
    """Whether one of the texts holds a Han character or kana."""
    return any(_IDEOGRAPH.search(text) for text in texts)


def squad_normal_form(text: str) -> str:
    """Lower case, without ASCII punctuation, the articles a, an, the, and repeated white space.

    As the evaluation script of SQuAD does (Rajpurkar et al. 2016, §6.1), in its order.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def cmrc_normal_form(text: str) -> str:
    """Lower case, without the marks that the evaluation script of CMRC 2018 names (Cui et al. 2019, §4)."""
    return "".join(char for char in text.lower().strip() if char not in _CMRC_MARKS)


def cmrc_tokens(text: str) -> list[str]:
    """Each Han character, and each word or mark between them, of the text's normal form.

    The script cuts what is not Chinese with NLTK's tokenizer; here it is cut into words and single marks, which differs
    for English contractions and abbreviations with stops.
    """
    return _CMRC_TOKEN.findall(cmrc_normal_form(text))
