"""The zip archive of a DOCX within bounds: what it unpacks to is checked before and while it is unpacked."""

import io
import zipfile
import zlib

from rag_qa.config.reading import ReadOptions
from rag_qa.document_processor.unreadable import UnreadableDocument

_MEBIBYTE = 1 << 20
_MAX_PARTS = 20_000


def check_package(data: bytes, source: str, options: ReadOptions) -> None:
    """Raises UnreadableDocument: a damaged archive, or one that unpacks to more than `options` allow.

    The directory of the archive is what its maker says; all parts are therefore unpacked once, piece by piece, with
    the same bounds.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = archive.infolist()
            if len(parts) > _MAX_PARTS:
                raise UnreadableDocument(f"{source}: has {len(parts):,} parts, as no document has: a zip bomb")
            _check_total(sum(part.file_size for part in parts), source, options)
            total = 0
            for part in parts:
                _check_ratio(part, part.file_size, source, options)
                if part.flag_bits & 1:
                    raise UnreadableDocument(f"{source}: is encrypted; save it without a password")
                size = 0
                with archive.open(part) as stream:
                    while piece := stream.read(_MEBIBYTE):
                        size += len(piece)
                        _check_total(total + size, source, options)
                        _check_ratio(part, size, source, options)
                total += size
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, OSError) as error:
        raise UnreadableDocument(f"{source}: is a damaged DOCX: {error}") from None


def _check_total(size: int, source: str, options: ReadOptions) -> None:
    if size > options.max_unpacked_bytes:
        raise UnreadableDocument(
            f"{source}: unpacks to more than {options.max_unpacked_bytes:,} bytes, as a zip bomb does; "
            "raise --reading.max_unpacked_bytes if you trust it"
        )


def _check_ratio(part: zipfile.ZipInfo, size: int, source: str, options: ReadOptions) -> None:
    if size > _MEBIBYTE and size > options.max_ratio * max(1, part.compress_size):
        raise UnreadableDocument(
            f"{source}: its part {part.filename} unpacks to over {options.max_ratio} times its size, as a zip bomb "
            "does; raise --reading.max_ratio if you trust it"
        )
