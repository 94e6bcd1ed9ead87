"""`rag-qa calibrate`: when an answer is refused, fitted to an index's own documents."""

from collections.abc import Sequence

from rag_qa.assistant import statistics_of
from rag_qa.commands.measured_tables import shown, table
from rag_qa.config import CalibrateConfig
from rag_qa.document_processor.index import Index
from rag_qa.document_processor.index_files import existing_database
from rag_qa.evaluation.answer_quality import refusal_auroc_interval
from rag_qa.evaluation.evaluation_set import from_questions
from rag_qa.generation.evidence import EvidenceReader
from rag_qa.generation.refusal import CalibrationExample, Calibrator
from rag_qa.generation.risk_coverage import risk_coverage, threshold_for_risk
from rag_qa.generation.shipped import default_calibrator, sentence_ranker
from rag_qa.retrieval.encoders import build_encoder
from rag_qa.run_layout import REFUSAL, index_to_read
from rag_qa.studies.corpus import made_questions
from rag_qa.studies.data_sets import questions_about
from rag_qa.studies.owner import OwnersRetriever
from rag_qa.studies.refusal import L2, calibration_examples, held_out_probabilities


def run(config: CalibrateConfig) -> None:
    """Ask questions with their passages and without, fit, say how good it is on what was held out, and keep it.

    Raises:
        UserError: there is no index, the questions are wrong, or there are too few of them.
    """
    folder = index_to_read(config.index)
    existing_database(folder)  # before the encoder is loaded: a wrong name is told at once
    with Index.open(folder, build_encoder(config.encoder), config.store) as index:
        examples, origin = examples_of(index, config)
        calibrator = Calibrator.fit(examples, l2=L2, origin=origin)
        calibrator.save(folder / REFUSAL)
    print(f"{origin}: {len(examples)} examples")
    print("\n".join(quality_lines(examples, config.risks)))
    if config.questions is None:
        print("\nMade questions share more words with the documents than people's do: --questions is the better test.")
    print(f"\nkept in {folder / REFUSAL}, and used whenever this index is asked")


def examples_of(index: Index, config: CalibrateConfig) -> tuple[list[CalibrationExample], str]:
    """Questions with what is found for them, with their passages and without, and where they come from."""
    retriever = OwnersRetriever.over(index, config.retrieval)
    reader = EvidenceReader(index.encoder, sentence_ranker(), statistics_of(index))
    if config.questions is None:
        questions = from_questions("made", made_questions(index, config.seed, config.n_made), ()).questions
        origin = f"{len(questions)} questions made of the documents' sentences"
    else:
        questions = questions_about(index, config.questions, "calibration").questions
        origin = f"{len(questions)} questions of {config.questions.name}"
    return calibration_examples(retriever, reader, questions, config.retrieval.k), origin


def quality_lines(examples: list[CalibrationExample], risks: tuple[float, ...]) -> list[str]:
    """AUROC, and what each threshold does, on examples that the fit has not seen."""
    held = [example.answerable for example in examples]
    probabilities = held_out_probabilities(examples)
    before = [default_calibrator().probability(example.evidence) for example in examples]
    rows = [
        ["AUROC: passages with the answer against those without", "held out"],
        ["calibrated on these documents", shown(refusal_auroc_interval(probabilities, held))],
        ["as it comes with the package", shown(refusal_auroc_interval(before, held))],
    ]
    return [*table(rows), *threshold_lines(probabilities, held, risks)]


def threshold_lines(probabilities: Sequence[float], held: Sequence[bool], risks: tuple[float, ...]) -> list[str]:
    """For each risk the threshold that keeps to it and answers most."""
    curve = risk_coverage(probabilities, held)
    rows = [["answers without ground", "--generation.refuse_below", "answerable questions answered"]]
    for risk in sorted(risks):
        threshold = threshold_for_risk(curve, risk)
        if threshold is None:
            rows.append([f"at most {risk:.0%}", "none keeps to it", ""])
            continue
        answered = [p >= threshold for p, has in zip(probabilities, held, strict=True) if has]
        rows.append([f"at most {risk:.0%}", f"{threshold:.2f}", f"{sum(answered) / len(answered):.0%}"])
    return table(rows)
