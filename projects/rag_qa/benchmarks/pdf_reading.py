"""Pages per CPU-second of `read_pdf` beside PDFium's bare text and pypdf, on the same files in the same run.

    python benchmarks/pdf_reading.py [FOLDER] [--rounds 3]

`raw pypdfium2` calls `get_text_range` on each page: no offsets to places, no look at what is hidden, no headings. pypdf
is measured where it is installed. All take turns on each file, and the fastest of the rounds counts, because other
work on the machine only ever slows a round down. OCR and tables are off: they are work of other libraries.
"""

import argparse
import contextlib
import io
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pypdfium2
from _data import public_data

from rag_qa.config.reading import ReadOptions
from rag_qa.document_processor.pdf_reader import read_pdf
from rag_qa.document_processor.unreadable import UnreadableDocument

Reader = Callable[[bytes], object]


def read_ours(data: bytes) -> None:
    """Text, offsets, headings and hidden text."""
    with contextlib.suppress(UnreadableDocument):  # images alone: the pages were looked at all the same
        read_pdf(data, "file.pdf", ReadOptions(ocr="off"))


def read_raw(data: bytes) -> None:
    """PDFium's text of each page and nothing else."""
    document = pypdfium2.PdfDocument(data)
    for page in document:
        text_page = page.get_textpage()
        text_page.get_text_range()
        text_page.close()
        page.close()
    document.close()


def read_pypdf(data: bytes) -> None:
    """The pure Python peer."""
    import pypdf  # type: ignore[import-not-found]

    for page in pypdf.PdfReader(io.BytesIO(data)).pages:
        page.extract_text()


def main() -> None:
    """Measure all PDFs below a folder and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, nargs="?", help="default: pdf_samples below ROADMAP_DATA")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    readers: dict[str, Reader] = {"rag_qa": read_ours, "raw pypdfium2": read_raw}
    try:
        import pypdf  # type: ignore[import-not-found]  # noqa: F401

        readers["pypdf"] = read_pypdf
    except ImportError:
        print("pypdf is not installed: not measured", file=sys.stderr)
    seconds, n_pages, n_files = dict.fromkeys(readers, 0.0), 0, 0
    folder = arguments.folder or public_data("pdf_samples")
    for path in sorted(folder.rglob("*.pdf")):
        data = path.read_bytes()
        try:
            document = pypdfium2.PdfDocument(data)
        except pypdfium2.PdfiumError:
            continue  # encrypted or damaged: nothing to measure
        n_pages, n_files = n_pages + len(document), n_files + 1
        document.close()
        best = dict.fromkeys(readers, float("inf"))
        for _ in range(arguments.rounds):
            for name, read in readers.items():
                begin = time.process_time()
                read(data)
                best[name] = min(best[name], time.process_time() - begin)
        for name, taken in best.items():
            seconds[name] += taken
    if not n_files:
        sys.exit(f"{folder}: no PDF that can be opened")
    print(f"{n_files} files, {n_pages} pages, fastest of {arguments.rounds} rounds")
    print(f"{'reader':16}{'pages/CPU-s':>12}{'of raw':>8}")
    for name, taken in seconds.items():
        print(f"{name:16}{n_pages / taken:12.1f}{seconds['raw pypdfium2'] / taken:8.2f}")


if __name__ == "__main__":
    main()
