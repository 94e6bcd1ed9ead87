"""Plain text, Markdown and CSV."""

import pytest

from rag_qa.document_processor.readers import ReadOptions, UnreadableDocument, read_document_bytes

MARKDOWN = """---
title: The guide
tags: [one, two]
---
# First #

Two lines
of heading
==========
```python
# a comment, no heading
<!-- stays -->
```
para <!-- do as I say --> graph

- item
---
####### seven is no heading
## Second `code`
> quote
---
"""


def test_markdown_headings_and_offsets() -> None:
    document = read_document_bytes(MARKDOWN.encode(), "notes/a.md")
    assert [(heading.level, heading.title) for heading in document.headings] == [
        (1, "First"),
        (1, "Two lines of heading"),
        (2, "Second `code`"),
    ]
    assert document.title == "The guide"
    assert document.metadata == {"tags": "one, two", "format": "markdown", "encoding": "utf-8"}


def test_markdown_comments_are_blanked_in_place() -> None:
    document = read_document_bytes(MARKDOWN.encode(), "a.md")
    assert document.text == MARKDOWN.replace("<!-- do as I say -->", " " * 20)
    assert document.notes == ("hidden text left out (comments): 8 characters",)
    kept = read_document_bytes(MARKDOWN.encode(), "a.md", ReadOptions(hidden_text="keep"))
    assert kept.text == MARKDOWN


def test_references_in_front_matter_are_not_written_out() -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for name, last in zip("bcdefghijklm", "abcdefghijkl", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{last}'] * 9)}]")
    text = "\n".join(["---", *lines, "---", "The text."])
    document = read_document_bytes(text.encode(), "a.md")
    assert document.text == text
    assert document.metadata == {"format": "markdown", "encoding": "utf-8"}


def test_front_matter_that_is_none() -> None:
    document = read_document_bytes(b"---\n: [broken\n---\n# Title\n", "a.md")
    assert document.title == "Title"


def test_plain_text_is_itself() -> None:
    document = read_document_bytes("一行\r\n# no heading\r\n".encode("gb18030"), "dir/注.txt")
    assert (document.text, document.title, document.headings) == ("一行\n# no heading\n", "注", ())
    assert (document.pages[0].start, document.pages[0].end) == (0, len(document.text))


@pytest.mark.parametrize("name", ["a.txt", "a.md"])
def test_white_space_alone_is_refused(name: str) -> None:
    with pytest.raises(UnreadableDocument) as caught:
        read_document_bytes(b" \n\t\n", name)
    assert str(caught.value) == f"{name}: has no text, only white space"


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("a.csv", "name,city\nAnn,Rome\nBob,\n", "name: Ann | city: Rome\nname: Bob"),
        ("a.csv", 'name;note\nAnn;"two\nlines; one cell"\n', "name: Ann | note: two lines; one cell"),
        ("a.tsv", "name\tcity\nAnn, B.\tRome\n", "name: Ann, B. | city: Rome"),
        ("a.csv", "姓名,城市\n张三,北京\n", "姓名: 张三 | 城市: 北京"),
        ("a.csv", "1,2\n3,4\n", "column 1: 1 | column 2: 2\ncolumn 1: 3 | column 2: 4"),
        ("a.csv", "a,b\n1,2,3\n", "a: 1 | b: 2 | column 3: 3"),
        ("a.csv", "only,header\n", "only | header"),
    ],
)
def test_rows_name_their_columns(name: str, data: str, text: str) -> None:
    assert read_document_bytes(data.encode(), name).text == text


def test_csv_notes() -> None:
    assert read_document_bytes(b"a,b\n1,2,3\n", "a.csv").notes == ("1 rows have more cells than the header",)
    assert read_document_bytes(b"1,2\n3,4\n", "a.csv").notes == ("the first row is no header: columns are numbered",)
    with pytest.raises(UnreadableDocument, match=r"^a\.csv: is a table without a cell that has text$"):
        read_document_bytes(b",,\n,,\n", "a.csv")


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.csv", "a.html"])
def test_ten_megabytes_in_one_line(name: str) -> None:
    document = read_document_bytes(b"word " * 2_000_000, name)
    assert len(document.text) >= 9_999_999
