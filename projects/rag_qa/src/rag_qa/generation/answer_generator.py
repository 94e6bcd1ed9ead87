"""The generator that a configuration asks for."""

from rag_qa.config.generation import GenerationConfig
from rag_qa.generation.refusal import Calibrator
from rag_qa.generation.term_statistics import TermStatistics
from rag_qa.protocols import AnswerGenerator, Encoder

__all__ = ["AnswerGenerator", "build_generator"]


def build_generator(
    config: GenerationConfig,
    encoder: Encoder,
    statistics: TermStatistics | None = None,
    calibrator: Calibrator | None = None,
) -> AnswerGenerator:
    """A generator of `config.kind`.

    Args:
        config: settings.
        encoder: of sentences, for ranking, confidence and citations.
        statistics: rarity of terms over the index's chunks, `TermStatistics.of`; None takes that of the retrieved
            passages, which tells rare words apart less well.
        calibrator: of refusal; None takes the file that the configuration names, or the shipped one.

    Raises:
        UserError: the calibration or the model cannot be read.
    """
    from pathlib import Path

    if calibrator is None and config.calibration:
        calibrator = Calibrator.load(Path(config.calibration))
    if config.kind == "hf":
        from rag_qa.generation.hf_generator import HFGenerator

        return HFGenerator(config, encoder, statistics, calibrator)
    if config.kind == "openai":
        from rag_qa.generation.openai_generator import OpenAIGenerator

        return OpenAIGenerator(config, encoder, statistics, calibrator)
    from rag_qa.generation.extractive import ExtractiveGenerator

    return ExtractiveGenerator(config, encoder, statistics, calibrator)
