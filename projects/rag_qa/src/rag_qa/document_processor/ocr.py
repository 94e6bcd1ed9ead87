"""Text of page images, by RapidOCR where it is installed (the extra `ocr`)."""

import importlib.util
import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

REMEDY = "pip install 'roadmap-rag-qa[ocr]' lets them be read by OCR"

_LOCK = threading.Lock()


@dataclass(frozen=True)
class OcrLine:
    """A line of text and its box in pixels of the image, origin at the upper left corner."""

    text: str
    left: float
    top: float
    right: float
    bottom: float


def is_available() -> bool:
    """Whether RapidOCR can be imported; asking does not import it."""
    return importlib.util.find_spec("rapidocr") is not None


def read_image(image: NDArray[np.uint8]) -> list[OcrLine]:
    """Lines of an image (H, W, 3), blue green red, from top to bottom."""
    with _LOCK:
        result = _engine()(image)
    if result.txts is None or result.boxes is None:
        return []
    lines = []
    for text, corners in zip(result.txts, np.asarray(result.boxes), strict=True):
        (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
        if text.strip():
            lines.append(OcrLine(text.strip(), float(left), float(top), float(right), float(bottom)))
    return lines


@lru_cache(maxsize=1)
def _engine() -> Any:
    from rapidocr import RapidOCR  # type: ignore[import-not-found]

    # The angle classifier turns upright lines upside down more often than it mends one.
    return RapidOCR(params={"Global.use_cls": False, "Global.log_level": "critical"})
