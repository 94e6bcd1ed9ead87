"""Prediction throughput against transformers' `pipeline`, same model, same texts, in the same run.

    python benchmarks/prediction_throughput.py [MODEL_FOLDER]

The peer answers one text after another, as a service without batching does, and in batches of 32 in the given order,
which pads short texts to the longest of their batch. Ours sorts by length first. All take turns; the labels are
asserted to be the same, and the median of the ratios is printed. Without a folder, a MiniLM with a random
classification layer answers: the time does not depend on the weights.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import transformers
from transformers import pipeline

from bert_sentiment.config import ModelConfig, PreprocessingConfig
from bert_sentiment.inference.predictor import Predictor
from bert_sentiment.models.bert_classifier import SentimentModel, build_classifier
from roadmap_shared.offline import sentiment_texts


def ways(model: SentimentModel, folder: Path) -> dict[str, Callable[[list[str]], list[str]]]:
    """The same model asked in three ways; each returns the labels."""
    pipe = pipeline("text-classification", model=str(folder), tokenizer=str(folder), device="cpu")
    predictor = Predictor(model)
    return {
        "pipeline, one by one": lambda texts: [pipe(text)[0]["label"] for text in texts],
        "pipeline, batches of 32": lambda texts: [answer["label"] for answer in pipe(texts, batch_size=32)],
        "ours, batches of 32": lambda texts: [answer.label for answer in predictor.predict(texts, batch_size=32)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", help="a model folder")
    parser.add_argument("--rounds", type=int, default=5, help="times that all take turns")
    parser.add_argument("--texts", type=int, default=300, help="texts to answer")
    arguments = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    # The pipeline cleans nothing: give both the texts as they are.
    raw = PreprocessingConfig(html=False, urls="keep", mentions="keep", elongation=False)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if arguments.model is None:
            model = build_classifier(ModelConfig(), raw, ("negative", "neutral", "positive"), 1)
        else:
            model = SentimentModel.load(arguments.model)
        model.preprocessing, model.temperature = raw, 1.0
        model.save(folder)
        texts = [text.text for text in sentiment_texts("test")][: arguments.texts]
        asked = ways(model, folder)
        expected = asked["pipeline, one by one"](texts)
        seconds: dict[str, list[float]] = {name: [] for name in asked}
        for _ in range(arguments.rounds):
            for name, ask in asked.items():
                start = time.perf_counter()
                labels = ask(texts)
                seconds[name].append(time.perf_counter() - start)
                assert labels == expected, f"{name} gave other labels"
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {torch.get_num_threads()} threads")
    print(f"{len(texts)} texts, {arguments.rounds} rounds, identical labels")
    for name, times in seconds.items():
        ratios = [one / own for one, own in zip(seconds["pipeline, one by one"], times, strict=True)]
        print(
            f"{name:26}{len(texts) / statistics.median(times):8.0f} texts a second"
            f"{statistics.median(ratios):8.2f} × ({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
