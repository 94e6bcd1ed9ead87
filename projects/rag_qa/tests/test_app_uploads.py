"""Uploaded files: hostile names, contents that are not what they claim, limits, owners, removal."""

import json
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath
from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rag_qa.app.errors import ApiError
from rag_qa.app.uploads import UploadFolder, check_content, checked_name, clean_name, owner_of

from .serving_fakes import FakeBackend, bearer, fake_app, served
from .test_app_asking import ask, refusal

NASTY = st.text(
    st.one_of(
        st.sampled_from(list("/\\.:~%$\0\n\r\t \u202e\u2215\uff0f\u2024*?<>|\"'CONcon")), st.characters()
    ),
    max_size=60,
)  # fmt: skip


@given(NASTY)
@example("../../etc/passwd")
@example("..\\..\\windows\\system.ini")
@example("....//....//x.txt")
@example("C:\\CON.txt")
@example("aux.pdf")
@example(".ssh")
@example("x.txt\0.pdf")
@example("invoice\u202efdp.exe")
@example("％2e％2e／x.txt")
@example("e\u0301.txt")
@example("x" * 300 + ".pdf")
@example("字" * 100 + ".txt")
@example("-rf .txt")
def test_a_clean_name_is_one_harmless_part_of_a_path(name: str) -> None:
    clean = clean_name(name)
    assert clean_name(clean) == clean
    if not clean:
        return
    folder = Path("/index/uploads/alice")
    assert (folder / clean).resolve().parent == folder
    assert PureWindowsPath("C:/index", clean).parent == PureWindowsPath("C:/index")
    assert clean.split(".")[0].strip().lower() not in ("con", "prn", "aux", "nul", "com1", "lpt9")
    assert not clean.startswith((".", " "))
    assert not clean.endswith((".", " "))
    assert len(clean.encode()) <= 180
    assert clean.isprintable()
    assert not set(clean) & set('/\\:*?"<>|\0')


@given(st.one_of(NASTY, st.just("alice")), NASTY)
@example("", "")
@example("..", "index.sqlite")
@example("alice", "..")
def test_no_source_leads_out_of_the_folder(owner: str, name: str) -> None:
    uploads = UploadFolder(Path("/index/uploads"))
    try:
        path = uploads.path(f"uploads/{owner}/{name}")
    except ValueError:
        return
    assert path.resolve().is_relative_to("/index/uploads")
    assert path.parent.parent == Path("/index/uploads")


def test_owners() -> None:
    assert owner_of("uploads/alice/a.txt") == "alice"
    for source in ("a.txt", "uploads/a.txt", "x/alice/a.txt", "uploads/alice/b/a.txt"):
        assert owner_of(source) is None


@pytest.mark.parametrize(
    ("name", "status", "message"),
    [
        (None, 400, "a file has no name that can be used"),
        ("", 400, "a file has no name that can be used"),
        ("..", 400, "a file has no name that can be used"),
        ("x/", 400, "a file has no name that can be used"),
        ("run.exe", 415, "run.exe: files of this kind are not read; there are "),
        ("notes", 415, "notes: files of this kind are not read; there are "),
        ("a.pdf.zip", 415, "a.pdf.zip: files of this kind are not read; there are "),
    ],
)
def test_names_that_are_refused(name: str | None, status: int, message: str) -> None:
    with pytest.raises(ApiError) as refused:
        checked_name(name)
    assert (refused.value.status_code, refused.value.message[: len(message)]) == (status, message)


@pytest.mark.parametrize(
    ("name", "start", "fits"),
    [
        ("a.pdf", b"%PDF-1.7", True),
        ("a.PDF", b"junk before \n%PDF-1.4", True),
        ("a.pdf", b"MZ\x90\x00", False),
        ("a.pdf", b"plain text", False),
        ("a.docx", b"PK\x03\x04", True),
        ("a.docx", b"%PDF-1.7", False),
        ("a.txt", b"plain", True),
        ("a.txt", "naïve".encode("latin-1"), True),
        ("a.txt", "x".encode("utf-16"), True),
        ("a.txt", b"a\0b", False),
        ("a.md", b"PK\x03\x04", False),
        ("a.html", b"%PDF-1.7", False),
        ("a.csv", b"\x7fELF", False),
    ],
)
def test_content_must_be_what_the_name_says(name: str, start: bytes, fits: bool) -> None:
    if fits:
        check_content(name, start)
        return
    with pytest.raises(ApiError) as refused:
        check_content(name, start)
    assert (refused.value.status_code, refused.value.message) == (415, f"{name}: its content is not what its name says")


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend({"guides/cats.md": ("Cats sleep.\n", ("public",)), "lab/x.txt": ("Lab secrets.\n", ("lab",))})


@pytest.fixture
def url(tmp_path: Path, backend: FakeBackend) -> Iterator[str]:
    with served(fake_app(tmp_path, backend)) as place:
        yield place


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server for requests that change nothing."""
    backend = FakeBackend({"lab/x.txt": ("Lab secrets.\n", ("lab",))})
    with served(fake_app(tmp_path_factory.mktemp("standing"), backend)) as place:
        yield place


def upload(url: str, *files: tuple[str, bytes], user: str = "alice", groups: Any = ()) -> httpx.Response:
    parts = [("files", (name, content)) for name, content in files]
    return httpx.post(f"{url}/documents", files=parts, data={"groups": groups}, headers=bearer(user), timeout=30)


def listed(url: str, user: str) -> dict[str, Any]:
    documents = httpx.get(f"{url}/documents", headers=bearer(user)).json()["documents"]
    return {document["source"]: document for document in documents}


def test_files_are_indexed_and_kept_under_their_owner(url: str, tmp_path: Path) -> None:
    response = upload(url, ("../../Pay rise.txt", b"Pay rises in May.\n"), ("b.txt", b"\xff broken"), groups=["hr"])
    assert response.json() == {
        "groups": ["hr"],
        "files": [
            {"name": "Pay rise.txt", "source": "uploads/alice/Pay rise.txt", "chunks": 1, "problem": None, "notes": []},
            {"name": "b.txt", "source": None, "chunks": 0, "problem": "b.txt: no text, in 1.txt", "notes": []},
        ],
    }
    folder = tmp_path / "index" / "uploads"
    assert [path.relative_to(folder).as_posix() for path in folder.rglob("*")] == ["alice", "alice/Pay rise.txt"]
    assert ask(url, "pay rises").json()["text"] == "Pay rises in May."
    assert listed(url, "alice")["uploads/alice/Pay rise.txt"]["may_delete"] is True
    assert set(listed(url, "bob")) == {"guides/cats.md", "lab/x.txt"}
    path = f"{url}/documents/uploads/alice/Pay rise.txt"
    file = httpx.get(path, params={"file": True}, headers=bearer("alice"))
    assert file.content == b"Pay rises in May.\n"
    assert file.headers["content-disposition"].startswith("attachment")
    assert file.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert file.headers["x-content-type-options"] == "nosniff"
    (folder / "alice" / "Pay rise.txt").write_text("changed")
    assert refusal(httpx.get(path, params={"file": True}, headers=bearer("alice"))) == (
        409, "the document's file was changed since it was indexed: ingest it again",
    )  # fmt: skip


def test_groups_of_an_upload(url: str) -> None:
    assert upload(url, ("a.txt", b"a")).json()["groups"] == ["hr"]  # one's own, where none is given
    assert upload(url, ("a.txt", b"a"), groups=["public"]).json()["groups"] == ["public"]
    assert upload(url, ("a.txt", b"a"), groups=["hr, public"]).json()["groups"] == ["hr", "public"]
    for foreign in ("lab", "no-such-group"):
        assert refusal(upload(url, ("a.txt", b"a"), groups=["hr", foreign])) == (
            403, "documents can be shared with your own groups only",
        )  # fmt: skip
    assert listed(url, "bob")["uploads/alice/a.txt"]["groups"] == ["public"]  # and not that alice's hr has it, too


def test_the_same_name_of_two_users(url: str) -> None:
    upload(url, ("plan.txt", b"Alice plans.\n"), groups=["public"])
    upload(url, ("plan.txt", b"Bob plans.\n"), groups=["public"], user="bob")
    upload(url, ("plan.txt", b"Alice plans again.\n"), groups=["public"])
    texts = {
        user: httpx.get(f"{url}/documents/uploads/{user}/plan.txt", headers=bearer("bob")).json()["text"]
        for user in ("alice", "bob")
    }
    assert texts == {"alice": "Alice plans again.\n", "bob": "Bob plans.\n"}


def test_limits(url: str) -> None:
    assert refusal(upload(url, ("a.txt", b"x" * 20_001))) == (413, "a.txt: has more than 20,000 bytes")
    three = [(f"{n}.txt", b"x" * 19_990) for n in range(3)]
    assert refusal(upload(url, *three)) == (413, "the request has more than 60,000 bytes: send less at a time")
    four = [(f"{n}.txt", b"x") for n in range(4)]
    assert refusal(upload(url, *four)) == (400, "more than 3 files: send fewer at a time")
    assert refusal(upload(url, ("a.txt", b"x"), ("x/a.txt", b"y"))) == (
        400, "a.txt: two files of this upload have this name",
    )  # fmt: skip
    assert refusal(upload(url, ("a.pdf", b"no pdf"))) == (415, "a.pdf: its content is not what its name says")

    def parts() -> Iterator[bytes]:
        yield b'--b\r\ncontent-disposition: form-data; name="files"; filename="a.txt"\r\n\r\n'
        for _ in range(100):
            yield b"x" * 1000

    headers = {"content-type": "multipart/form-data; boundary=b", **bearer("alice")}
    assert refusal(httpx.post(f"{url}/documents", content=parts(), headers=headers))[0] == 413
    assert set(listed(url, "alice")) == {"guides/cats.md"}


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        (b"{}", "application/json", "send files as multipart/form-data, each in a field 'files'"),
        (b"", "multipart/form-data; boundary=b", "no file: send each in a field 'files'"),
        (b"junk", "multipart/form-data; boundary=b", "the form cannot be read"),
        (b"junk", "multipart/form-data", "the form cannot be read"),
        (b'--b\r\ncontent-disposition: form-data; name="files"\r\n\r\nx\r\n--b--\r\n',
         "multipart/form-data; boundary=b", "no file: send each in a field 'files'"),
        (b'--b\r\ncontent-disposition: form-data; name="path"\r\n\r\nx\r\n--b--\r\n',
         "multipart/form-data; boundary=b", "unknown field in the form; there are 'files' and 'groups'"),
    ],
)  # fmt: skip
def test_forms_that_hold_no_files(standing: str, content: bytes, kind: str, message: str) -> None:
    headers = {"content-type": kind, **bearer("alice")}
    assert refusal(httpx.post(f"{standing}/documents", content=content, headers=headers)) == (400, message)


def test_who_may_delete(url: str, tmp_path: Path) -> None:
    upload(url, ("a.txt", b"Ants march.\n"), groups=["public"])
    source = "uploads/alice/a.txt"

    def delete(user: str, source: str = source) -> httpx.Response:
        return httpx.delete(f"{url}/documents/{source}", headers=bearer(user))

    assert refusal(delete("bob")) == (403, "only its owner or an admin may delete a document")
    assert refusal(delete("alice", "guides/cats.md")) == (403, "only its owner or an admin may delete a document")
    gone = delete("alice")
    assert gone.status_code == 200
    assert gone.json()["certificate"]["clean"] is True
    assert not (tmp_path / "index" / "uploads" / source.removeprefix("uploads/")).exists()
    assert ask(url, "ants march").json()["refused"]
    assert delete("alice").status_code == 404
    assert delete("root", "guides/cats.md").status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "{}"), ("GET", "{}/page/1.png"), ("GET", "{}?file=true"), ("GET", "{}?page=1"), ("DELETE", "{}")],
)
def test_a_forbidden_document_is_as_one_that_is_not_there(standing: str, method: str, path: str) -> None:
    seen = []
    for source in ("lab/x.txt", "lab/nothing.txt"):
        response = httpx.request(method, f"{standing}/documents/{path.format(source)}", headers=bearer("alice"))
        headers = {name: value for name, value in response.headers.items() if name != "date"}
        seen.append((response.status_code, response.json(), headers))
    assert seen[0] == seen[1]
    assert seen[0][0] == 404


@pytest.mark.parametrize(
    "path",
    ["../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd", "..%2f..%2fetc%2fpasswd", "%2fetc%2fpasswd", "a%00b",
     "uploads/alice/..%2f..%2findex.sqlite", "uploads/../index.sqlite", "%5c..%5cx"],
)  # fmt: skip
def test_paths_lead_nowhere(standing: str, path: str) -> None:
    for suffix in ("", "?file=true", "/page/1.png"):
        response = httpx.get(f"{standing}/documents/{path}{suffix}", headers=bearer("alice"))
        assert response.status_code == 404
        assert json.loads(response.text)["error"]["message"] in (
            "no such document; GET /documents lists yours", "unknown URL",
        )  # fmt: skip


def test_pages_and_snippets(url: str) -> None:
    path = f"{url}/documents/guides/cats.md"
    found = httpx.get(path, params={"page": 1}, headers=bearer("alice")).json()
    assert (found["start"], found["end"], found["text"], found["pages"]) == (0, 12, "Cats sleep.\n", 1)
    assert refusal(httpx.get(path, params={"page": 2}, headers=bearer("alice"))) == (404, "the document has no page 2")
    assert refusal(httpx.get(path, params={"page": "x"}, headers=bearer("alice")))[0] == 400
    assert refusal(httpx.get(f"{path}/page/1.png", headers=bearer("alice"))) == (
        404, "the document's file is not kept here; its text is",
    )  # fmt: skip
    upload(url, ("p.pdf", b"%PDF-1.4 fake"))
    image = httpx.get(f"{url}/documents/uploads/alice/p.pdf/page/1.png?start=2&end=5", headers=bearer("alice"))
    assert (image.headers["content-type"], image.content) == ("image/png", b"image of p.pdf, page 1, 2 to 5")


def test_a_document_that_is_taken_from_a_group(url: str, backend: FakeBackend) -> None:
    upload(url, ("a.txt", b"Ants march.\n"), groups=["public"])
    identity = ask(url, "ants march", user="bob").json()["conversation_id"]
    upload(url, ("a.txt", b"Ants march.\n"), groups=["hr"])
    assert "uploads/alice/a.txt" not in listed(url, "bob")
    answer = ask(url, "ants march", user="bob", conversation_id=identity).json()
    assert answer["refused"]
    assert backend.heard[-1] == ("ants march", ())
    assert httpx.get(f"{url}/documents/uploads/alice/a.txt", headers=bearer("bob")).status_code == 404
