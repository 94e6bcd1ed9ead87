"""Documents of 256 tokens per CPU second and thread: torch, ONNX and ONNX with 8-bit products, in one run.

    python benchmarks/embedding_throughput.py [--documents 32] [--rounds 3] [--quality XQUAD_FILE]

All encode the same texts, cut from the Python reference so that each fills the model's limit, and take turns; the
processor time of the process is counted, with one thread. The median round counts. With a file in SQuAD's format,
nDCG@10 of the vectors alone is printed too: what the 8 bits cost.
"""

import argparse
import statistics
import time
from pathlib import Path

import torch

from rag_qa.config.encoder import EncoderConfig
from rag_qa.retrieval.encoders import build_encoder
from rag_qa.retrieval.tokenized_encoder import TokenizedEncoder
from roadmap_shared.offline import python_reference

BACKENDS = ("torch", "onnx", "onnx_int8")


def documents(encoder: TokenizedEncoder, number: int) -> list[str]:
    """Texts of exactly as many tokens as the encoder sees."""
    text = python_reference().text[:400_000]
    spans = encoder.token_spans(text)
    size = encoder.max_tokens
    starts = range(0, min(len(spans) - size, number * size), size)
    return [text[spans[start][0] : spans[start + size - 1][1]] for start in starts]


def quality(encoder: TokenizedEncoder, path: Path) -> float:
    """nDCG@10 of each question's own paragraph, by vectors alone."""
    import json
    from math import log2

    paragraphs = [p for article in json.loads(path.read_text())["data"] for p in article["paragraphs"]]
    asked = [(qa["question"], number) for number, p in enumerate(paragraphs) for qa in p["qas"]]
    similarity = encoder.encode([text for text, _ in asked]) @ encoder.encode([p["context"] for p in paragraphs]).T
    ranks = [1 + int((row > row[own]).sum()) for row, (_, own) in zip(similarity, asked, strict=True)]
    return sum(1 / log2(rank + 1) for rank in ranks if rank <= 10) / len(ranks)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="documents per CPU second of each encoder")
    parser.add_argument("--documents", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quality", type=Path, default=None)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    encoders = {name: build_encoder(EncoderConfig(backend=name, threads=1)) for name in BACKENDS}
    texts = documents(encoders["torch"], arguments.documents)
    times: dict[str, list[float]] = {name: [] for name in encoders}
    for encoder in encoders.values():
        encoder.encode(texts[:2])
    for _ in range(arguments.rounds):
        for name, encoder in encoders.items():
            start = time.process_time()
            encoder.encode(texts)
            times[name].append(time.process_time() - start)
    rates = {name: len(texts) / statistics.median(spent) for name, spent in times.items()}
    print(f"{len(texts)} documents of {encoders['torch'].max_tokens} tokens and two special ones, one thread")
    for name, rate in rates.items():
        found = f"  nDCG@10 {quality(encoders[name], arguments.quality):.4f}" if arguments.quality else ""
        print(f"{name:10} {rate:6.1f} documents / CPU s  {rate / rates['torch']:.2f} x torch{found}", flush=True)


if __name__ == "__main__":
    main()
