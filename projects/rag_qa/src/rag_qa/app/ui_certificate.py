"""A certificate of deletion as a page shows it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class CertificateView:
    """What was searched for remains of a document, and what was found."""

    source: str
    clean: bool
    """Nothing of the document is left."""

    chunks: int
    n_files: int
    n_bytes: int
    n_patterns: int
    left: tuple[str, ...]
    """Files in which traces were found."""

    remarks: tuple[str, ...]
    json: str
    """The whole certificate."""


def certificate_view(certificate: Mapping[str, Any]) -> CertificateView:
    """Sum up a certificate's fields, as `dataclasses.asdict` gives them. Fields that are missing count as 0."""
    files = certificate.get("files", ())
    left = tuple(str(file["path"]) for file in files if file["text_hits"] or file["vector_hits"])
    return CertificateView(
        source=", ".join(certificate["sources"]),
        clean=not left and not certificate.get("ids_left", 0),
        chunks=certificate["chunks"],
        n_files=len(files),
        n_bytes=sum(file["bytes"] for file in files),
        n_patterns=certificate.get("text_patterns", 0) + certificate.get("vector_patterns", 0),
        left=left,
        remarks=tuple(certificate.get("remarks", ())),
        json=json.dumps(dict(certificate), indent=2, ensure_ascii=False, default=str) + "\n",
    )
