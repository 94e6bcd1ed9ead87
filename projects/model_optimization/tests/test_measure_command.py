import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from model_optimization.benchmarking.harness import Failure
from model_optimization.benchmarking.peaks import Peaks
from model_optimization.benchmarking.speed import Speed
from model_optimization.commands import measure
from model_optimization.config.benchmark import BenchmarkConfig, MeasureConfig
from roadmap_shared.config import parse_config
from roadmap_shared.errors import UserError

from .test_benchmark_figures import speed
from .tiny_models import tiny_classifier


@pytest.fixture
def model(tmp_path: Path) -> Path:
    tiny_classifier(tmp_path / "model")
    return tmp_path / "model"


def fake(speeds: Sequence[Speed], failures: Sequence[Failure] = ()) -> Callable[..., list[Speed]]:
    def measured(folders: Sequence[Path], config: BenchmarkConfig, **more: object) -> list[Speed]:
        measured.called = (list(folders), config, more["texts"])  # type: ignore[attr-defined]
        for failure in failures:
            more["on_failure"](failure)  # type: ignore[operator]
        return list(speeds)

    return measured


def test_table_json_and_files(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    speeds = [speed("first", 20, 1.0), speed("second", 8, 2.5)]
    monkeypatch.setattr(measure, "measure_variants", fake(speeds, [Failure("third", "hung")]))
    output = tmp_path / "deep" / "out"
    measure.run(MeasureConfig(folders=(model,), output=output, roofline=False))
    shown = capsys.readouterr()
    assert "third: not measured: hung" in shown.err
    line = next(line for line in shown.out.splitlines() if line.startswith("second") and "16 x 128" in line)
    assert line.split()[4:] == ["104.0", "124.8", "135.2", "104.0", "10", *"2.50 (2.25 to 2.75)".split() * 2, "1"]
    record = json.loads((output / "measure.json").read_text(encoding="utf-8"))
    assert [one["name"] for one in record["variants"]] == ["first", "second"]
    assert record["variants"][1]["latency"]["16"]["p50_ms"] == 104
    assert record["failures"] == [{"name": "third", "reason": "hung"}]
    assert record["environment"]["cores"] >= 1
    assert sorted(path.name for path in output.iterdir()) == ["latency.png", "measure.json", "report.html"]


def test_json_alone_on_standard_output_with_the_roofline(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    peaks = Peaks(fp32_gflops=100, int8_gflops=400, gigabytes_per_second=10, threads=1)
    monkeypatch.setattr("model_optimization.benchmarking.peaks.measure_peaks", lambda threads: peaks)
    one = speed("model", 20, 1.0)
    monkeypatch.setattr(measure, "measure_variants", fake([Speed(**(one.__dict__ | {"folder": str(model)}))]))
    measure.run(MeasureConfig(folders=(model,), json=True))
    record = json.loads(capsys.readouterr().out)
    assert record["peaks"]["fp32_gflops"] == 100
    assert [(row["batch"], row["measured_ms"]) for row in record["roofline"]] == [(1, 20), (16, 260)]
    assert record["roofline"][0]["predicted_ms"] > 0


def test_the_reference_comes_first_and_is_measured_once(model: Path) -> None:
    tiny_classifier(model.parent / "other")
    other = model.parent / "other"
    config = MeasureConfig(folders=(model, other), reference=model.parent / "model" / ".." / "other")
    assert [folder.resolve() for folder in measure.folders_of(config)] == [other, model]


def test_texts_of_a_file(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("a good film\n\n  not bad \n", encoding="utf-8")
    double = fake([speed("a", 1, 1.0)])
    monkeypatch.setattr(measure, "measure_variants", double)
    measure.run(MeasureConfig(folders=(model,), texts=path, roofline=False))
    _, config, texts = double.called  # type: ignore[attr-defined]
    assert texts == ["a good film", "not bad"]
    assert config.realistic == 2


def message(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    return str(caught.value)


def test_mistakes_are_told_before_anything_is_measured(tmp_path: Path, model: Path) -> None:
    def refusal(**settings: object) -> str:
        return message(lambda: measure.run(MeasureConfig(**settings)))  # type: ignore[arg-type]

    absent, empty, texts = tmp_path / "absent", tmp_path / "empty", tmp_path / "texts.txt"
    empty.mkdir()
    remedy = "give one with variant.json or config.json in it"
    assert refusal(folders=(model, absent)) == f"{absent}: there is no such folder: {remedy}"
    assert refusal(folders=(empty,)) == f"{empty}: is no folder of a variant or a model: {remedy}"
    (empty / "variant.json").write_text("[]")
    assert refusal(folders=(empty,)) == (
        f"{empty / 'variant.json'}: is not of the form that this version writes: make the variant again"
    )
    assert refusal(folders=(model,), texts=texts) == f"--texts {texts}: cannot be read: No such file or directory"
    texts.write_text("\n \n")
    assert refusal(folders=(model,), texts=texts) == f"--texts {texts}: holds no text: give one text a line"
    texts.write_bytes(b"good\xff")
    assert refusal(folders=(model,), texts=texts) == f"--texts {texts}: is no text in UTF-8 (byte 4)"
    assert refusal(folders=(model,), output=texts) == f"--output {texts}: cannot be made: File exists"


def test_when_nothing_could_be_measured(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "measure_variants", fake([]))
    assert message(lambda: measure.run(MeasureConfig(folders=(model,)))) == "no variant could be measured"


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        (["--benchmark.batch_sizes", "1", "1"], "--benchmark.batch_sizes (1, 1) must be different numbers from 1"),
        (["--benchmark.batch_sizes", "0"], "--benchmark.batch_sizes (0,) must be different numbers from 1"),
        (["--benchmark.tokens", "4"], "--benchmark.tokens 4 is outside 8 … 8192"),
        (["--benchmark.realistic", "-1"], "--benchmark.realistic -1 must not be negative"),
        (["--benchmark.threads", "0"], "--benchmark.threads 0 must be at least 1"),
        (["--benchmark.rounds", "2"], "--benchmark.rounds 2 must be at least 3: fewer blocks have no spread"),
        (["--benchmark.seconds_per_variant", "0"], "--benchmark.seconds_per_variant 0 must be above 0"),
        (["--benchmark.timeout_seconds", "nan"], "--benchmark.timeout_seconds nan must be above 0"),
        (["--benchmark.busy_share", "1.5"], "--benchmark.busy_share 1.5 must be above 0 and at most 1"),
        (["--benchmark.patience_seconds", "-1"], "--benchmark.patience_seconds -1 must not be negative"),
        (["--benchmark.seed", "-1"], "--benchmark.seed -1 must not be negative"),
    ],
)
def test_settings_that_make_no_sense(arguments: list[str], refusal: str) -> None:
    def parse() -> object:
        return parse_config(
            MeasureConfig, ["model", *arguments], prog="p", description="", configs=Path(), default=None
        )

    assert refusal in message(parse)


def test_at_least_one_folder() -> None:
    with pytest.raises(UserError, match=r"^name at least one folder to measure$"):
        measure.folders_of(MeasureConfig())
