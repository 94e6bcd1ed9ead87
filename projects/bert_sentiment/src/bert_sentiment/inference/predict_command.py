"""`bert-sentiment predict`: label texts, colour what speaks for the label, or label a file."""

import shutil
import sys
import unicodedata

from bert_sentiment.config import PredictConfig
from bert_sentiment.inference.attributions import integrated_gradients
from bert_sentiment.inference.files import FileResult, predict_file, tell
from bert_sentiment.inference.predictor import UNSURE, Prediction, Predictor
from bert_sentiment.inference.rendering import to_terminal


def run(config: PredictConfig) -> None:
    """Print a line a text, or write a labelled copy of a file and print where it is."""
    predictor = Predictor.find(config.model, config.root, config.device, unsure_below=config.unsure_below)
    if config.input is None:
        _texts(predictor, config)
        return
    tell(f"model: {predictor.folder}")
    result = predict_file(
        predictor,
        config.input,
        config.output,
        text_column=config.text_column,
        batch_size=config.batch_size,
        restart=config.restart,
    )
    print("\n".join(_summary(result)))


def _texts(predictor: Predictor, config: PredictConfig) -> None:
    predictions = predictor.predict(config.texts, config.batch_size)
    width = max(len(prediction.label) for prediction in predictions)
    for text, prediction in zip(config.texts, predictions, strict=True):
        if not config.explain:
            print(_line(text, prediction, width))
            continue
        attribution = integrated_gradients(predictor.model, text, prediction.best)
        about = f"{prediction.label:<{width}}  {prediction.probability:.3f}"
        if prediction.label == UNSURE:
            about += f"  {prediction.best}?"
        print(f"{about}  {to_terminal(attribution)}")


def _line(text: str, prediction: Prediction, width: int) -> str:
    """`positive  0.981  I loved it`, cut at the right edge where the output is a terminal."""
    line = f"{prediction.label:<{width}}  {prediction.probability:.3f}  "
    # Blanks for line breaks and for characters that would move the cursor: one text, one line.
    text = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    if sys.stdout.isatty():
        text = shorten(text, shutil.get_terminal_size().columns - len(line))
    return line + text


def shorten(text: str, columns: int) -> str:
    """The text cut to at most so many columns of a terminal, with `…` where something is missing. Chinese characters
    and most emoji take two columns."""
    if sum(map(_columns, text)) <= columns:
        return text
    kept, used = "", 1  # the sign for what is missing
    for sign in text:
        used += _columns(sign)
        if used > columns:
            break
        kept += sign
    return kept.rstrip() + "…"


def _columns(sign: str) -> int:
    if unicodedata.combining(sign):
        return 0
    return 2 if unicodedata.east_asian_width(sign) in "WF" else 1


def _summary(result: FileResult) -> list[str]:
    """Where the files are, and how many records have each label."""
    lines = [f"labelled: {result.output}"]
    width = max(map(len, result.counts), default=0)
    for label, count in result.counts.items():
        lines.append(f"  {label:<{width}}  {count:>{len(str(result.n_labelled))}}  {count / result.n_labelled:.1%}")
    if result.rejects is not None:
        records = "record" if result.n_rejected == 1 else "records"
        lines.append(f"not labelled: {result.n_rejected} {records}, with the reasons in {result.rejects}")
    return lines
