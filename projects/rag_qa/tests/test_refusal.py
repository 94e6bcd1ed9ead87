"""Calibration of refusal, risk and coverage, questions made from passages."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_qa.config.generation import GenerationConfig
from rag_qa.corpus.questions import Gold
from rag_qa.evaluation.evaluation_set import EvaluationQuestion
from rag_qa.generation import shipped
from rag_qa.generation.answer_generator import build_generator
from rag_qa.generation.evidence import EvidenceReader
from rag_qa.generation.refusal import CalibrationExample, Calibrator
from rag_qa.generation.refusal_features import NAMES, refusal_features
from rag_qa.generation.risk_coverage import risk_coverage, threshold_for_risk
from rag_qa.generation.synthetic_questions import make_questions
from rag_qa.generation.term_statistics import TermStatistics
from rag_qa.protocols import Where
from rag_qa.studies.refusal import calibrated
from rag_qa.types import Chunk, Retrieved, User
from roadmap_shared.errors import UserError

from .generation_fakes import BRIDGE, CHINESE, KETTLE, WordEncoder, retrieved


def fitted(n: int = 60) -> Calibrator:
    generator = np.random.default_rng(0)
    answerable = np.arange(n) % 2 == 0
    features = generator.normal(size=(n, len(NAMES))) + answerable[:, None]
    return Calibrator.fit_features(features, answerable, [str(i // 2) for i in range(n)], origin="by hand")


def test_a_calibrator_comes_back_from_its_file(tmp_path: Path) -> None:
    calibrator = fitted()
    calibrator.save(tmp_path / "c.json")
    again = Calibrator.load(tmp_path / "c.json")
    x = np.random.default_rng(1).normal(size=(5, len(NAMES)))
    assert again.probabilities(x) == pytest.approx(calibrator.probabilities(x), abs=1e-4)
    assert (again.n_examples, again.origin) == (60, "by hand")
    config = GenerationConfig(calibration=str(tmp_path / "c.json"))
    assert build_generator(config, WordEncoder()).calibrator.origin == "by hand"  # type: ignore[attr-defined]


def test_probabilities_are_calibrated_on_held_out_folds() -> None:
    generator = np.random.default_rng(2)
    answerable = generator.random(2000) < 0.5
    features = generator.normal(size=(2000, len(NAMES))) + 0.5 * answerable[:, None]
    calibrator = Calibrator.fit_features(features[:1000], answerable[:1000], [""] * 1000)
    p = calibrator.probabilities(features[1000:])
    for low, high in ((0, 0.2), (0.4, 0.6), (0.8, 1)):
        inside = (p >= low) & (p <= high)
        assert answerable[1000:][inside].mean() == pytest.approx(p[inside].mean(), abs=0.1)


def test_a_calibration_moves_to_another_kind_of_text_and_keeps_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    calibrator = fitted(400)
    generator = np.random.default_rng(3)
    answerable = generator.random(2000) < 0.7  # a kind of text of which it is far too sure
    features = generator.normal(size=(2000, len(NAMES))) + 0.2 * answerable[:, None]
    monkeypatch.setattr("rag_qa.generation.refusal.refusal_features", lambda row: row)
    examples = [CalibrationExample(row, bool(yes)) for row, yes in zip(features, answerable, strict=True)]  # type: ignore[arg-type]
    moved = calibrator.recalibrated(examples)
    before, after = calibrator.probabilities(features), moved.probabilities(features)
    assert (np.argsort(before) == np.argsort(after)).all()
    odds = np.where(answerable, 0.5 / answerable.mean(), 0.5 / (1 - answerable.mean()))  # as if half were answerable
    for low, high in ((0, 0.4), (0.4, 0.6), (0.6, 1)):
        inside = (after >= low) & (after <= high)
        share = odds[inside & answerable].sum() / odds[inside].sum()
        assert share == pytest.approx(after[inside].mean(), abs=0.06)
    assert abs(before - 0.5).mean() > abs(after - 0.5).mean()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "c.json holds no calibration of refusal. Calibrate again: `rag-qa calibrate`."),
        ("{", "c.json holds no calibration of refusal. Calibrate again: `rag-qa calibrate`."),
        (
            json.dumps({"features": ["x"]}),
            "c.json was made for other features than this version computes. Calibrate again: `rag-qa calibrate`.",
        ),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(content)
    with pytest.raises(UserError) as caught:
        Calibrator.load(path)
    assert str(caught.value) == f"{tmp_path}/{message}"
    path.unlink()
    with pytest.raises(UserError) as caught:
        Calibrator.load(path)
    assert str(caught.value) == f"{path}: no such calibration of refusal. Calibrate again: `rag-qa calibrate`."


def test_too_few_examples_are_refused() -> None:
    with pytest.raises(UserError) as caught:
        Calibrator.fit([])
    assert str(caught.value) == (
        "refusal cannot be calibrated on 0 answerable and 0 unanswerable questions: at least 10 of each are needed. "
        "Give more questions with their passages, or more documents."
    )


def test_features_are_finite_and_zero_without_passages() -> None:
    reader = EvidenceReader(WordEncoder(), shipped.sentence_ranker(), TermStatistics.of([KETTLE, BRIDGE]))
    for texts in ((), ("",), (KETTLE,), (CHINESE, BRIDGE, KETTLE)):
        features = refusal_features(reader.read("Who built the Corven bridge in 1871?", retrieved(*texts)))
        assert features.shape == (len(NAMES),)
        assert np.isfinite(features).all()
        assert texts not in ((), ("",)) or not features.any()


def test_features_see_what_is_missing() -> None:
    reader = EvidenceReader(WordEncoder(), shipped.sentence_ranker(), TermStatistics.of([KETTLE, BRIDGE]))
    held, missing = (
        dict(zip(NAMES, refusal_features(reader.read("Who built the bridge at Corven?", retrieved(text))), strict=True))
        for text in (BRIDGE, KETTLE)
    )
    assert (held["passage_coverage"], held["names_missing"], held["rarest_missing"]) == (1.0, 0.0, 0.0)
    assert (missing["passage_coverage"], missing["names_missing"]) == (0.0, 1.0)


def test_risk_coverage_by_hand() -> None:
    curve = risk_coverage([0.9, 0.8, 0.8, 0.1], [True, True, False, False])
    assert curve.thresholds == (0.9, 0.8, 0.1)
    assert curve.coverage == (0.25, 0.75, 1.0)
    assert curve.risk == (0.0, 1 / 3, 0.5)
    # The tie's one error is spread over its two places: risks 0, .5/2, 1/3, 2/4.
    assert curve.area == pytest.approx((0 + 0.25 + 1 / 3 + 0.5) / 4)
    assert threshold_for_risk(curve, 0.4) == 0.8
    assert threshold_for_risk(curve, 0.0) == 0.9
    assert threshold_for_risk(risk_coverage([1.0], [False]), 0.5) is None


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.5, 0.9]), st.booleans()), min_size=1, max_size=20), st.randoms())
def test_the_curve_does_not_depend_on_the_order(rows: list[tuple[float, bool]], random) -> None:
    shuffled = rows[:]
    random.shuffle(shuffled)
    first, second = (risk_coverage(*map(list, zip(*items, strict=True))) for items in (rows, shuffled))
    assert first.coverage == second.coverage
    assert first.risk == pytest.approx(second.risk)
    assert first.area == pytest.approx(second.area)
    assert first.risk[-1] == pytest.approx(1 - sum(right for _, right in rows) / len(rows))


def test_risk_coverage_refuses_what_is_no_list() -> None:
    with pytest.raises(ValueError, match="two lists of one length"):
        risk_coverage([], [])
    with pytest.raises(ValueError, match="a confidence is NaN or infinite"):
        risk_coverage([float("nan")], [True])


def _corpus() -> list[Chunk]:
    makers = "Ida Marsh,Otto Lind,Mara Voss,Jon Peel,Nils Dorn,Eva Ruhl,Tom Gray,Lea Stark,Max Held,Ute Brandt".split(
        ","
    )
    things = "bridge canal tower mill station lighthouse harbour library tunnel market fountain theatre".split()
    texts = [
        f"The {thing} of {maker.split()[1]}ville number {i} was designed by {maker} and opened in {1800 + 7 * i}. "
        f"Its walls carry {i + 3} painted {things[(i * 5 + 1) % 12]} scenes of seasonal {things[i % 7]} labour."
        for i, (maker, thing) in enumerate((maker, thing) for maker in makers for thing in things[:4])
    ]
    return [Chunk(source=f"{i}", start=0, end=len(text), text=text, page=1, id=i) for i, text in enumerate(texts)]


def test_made_questions_come_from_their_chunk_and_are_reproducible() -> None:
    chunks = _corpus()
    questions = make_questions(chunks, 15, seed=3)
    assert questions == make_questions(chunks, 15, seed=3)
    assert len({question.chunk.id for question in questions}) == len(questions) == 15
    for question in questions:
        assert question.answer in question.chunk.text
        assert question.text.endswith("?")
    chinese = Chunk(source="zh", start=0, end=len(CHINESE), text=CHINESE, page=1)
    assert all(question.text.endswith("？") for question in make_questions([chinese], 1))


class Nearest:
    """Chunks by cosine, best first."""

    def __init__(self, chunks: list[Chunk], encoder: WordEncoder) -> None:
        self._chunks, self._encoder = chunks, encoder
        self._vectors = encoder.encode([chunk.text for chunk in chunks])

    def search(self, query: str, k: int | None = None, user: User | None = None, where: Where = ()) -> list[Retrieved]:
        cosines = self._vectors @ self._encoder.encode([query])[0]
        return [Retrieved(chunk=self._chunks[i], score=float(cosines[i])) for i in np.argsort(-cosines)[:k]]


def test_calibration_on_made_questions_tells_present_from_absent() -> None:
    chunks, encoder = _corpus(), WordEncoder()
    questions = [
        EvaluationQuestion(
            id=f"{number}",
            text=made.text,
            answers=(made.answer,),
            gold=(Gold(source=made.chunk.source, start=made.start, end=made.end, quote=made.sentence),),
        )
        for number, made in enumerate(make_questions(chunks, 20))
    ]
    statistics = TermStatistics.of(chunk.text for chunk in chunks)
    reader = EvidenceReader(encoder, shipped.sentence_ranker(), statistics)
    calibrator = calibrated(Nearest(chunks, encoder), reader, questions, 4, "made")
    assert calibrator is not None
    assert calibrator.auroc > 0.7
    assert calibrator.origin == "made"
