import json

import pytest

from model_optimization.commands import predict, registry, serve
from model_optimization.config.serving import (
    BatchingConfig,
    LimitsConfig,
    PredictConfig,
    RegistryConfig,
    ServeCommandConfig,
    ServeConfig,
    TrafficConfig,
)
from model_optimization.variants import VariantInfo, write_variant
from roadmap_shared.errors import UserError

from .tiny_models import TEXTS, tiny_classifier


@pytest.fixture(scope="module")
def variant(tmp_path_factory):
    classifier = tiny_classifier()
    info = VariantInfo(name="tiny", kind="torch", labels=classifier.labels, max_length=64)
    return write_variant(tmp_path_factory.mktemp("models") / "tiny", info, classifier.save)


def test_registry_command_registers_lists_promotes_and_goes_back(variant, tmp_path, capsys):
    place = str(tmp_path / "registry")
    registry.run(RegistryConfig(path=place))
    assert capsys.readouterr().out == "no versions yet: register a variant with --register FOLDER\n"
    registry.run(RegistryConfig(path=place, register=variant))
    registry.run(RegistryConfig(path=place, register=variant, challenger=2))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"registered {variant} as version 1"
    assert [line.split()[:2] for line in lines[-2:]] == [["1", "champion"], ["2", "challenger"]]
    registry.run(RegistryConfig(path=place, promote=0))
    assert capsys.readouterr().out.splitlines()[0] == "version 2 is the champion"
    registry.run(RegistryConfig(path=place, rollback=True))
    assert capsys.readouterr().out.splitlines()[0] == "back to version 1"
    with pytest.raises(UserError, match=r"^version 5 is not in the registry \(there: 1, 2\)$"):
        registry.run(RegistryConfig(path=place, promote=5))


def test_predict_prints_a_json_line_for_each_text(variant, capsys):
    predict.run(PredictConfig(variant=variant, texts=TEXTS[:3]))
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    logits = tiny_classifier().logits(TEXTS[:3])
    assert [record["text"] for record in records] == list(TEXTS[:3])
    assert [record["line"] for record in records] == [1, 2, 3]
    assert [record["label"] for record in records] == [("negative", "positive")[row.argmax()] for row in logits]
    for record in records:
        assert record["probability"] == max(record["probabilities"].values())
        assert sum(record["probabilities"].values()) == pytest.approx(1)


def test_predict_labels_a_file_and_names_the_lines_that_it_cannot(variant, tmp_path, capsys):
    source, output = tmp_path / "texts.jsonl", tmp_path / "labels.jsonl"
    rows = [
        b'\xef\xbb\xbf{"text": "good"}', b"{", b'{"txt": 1}', b'{"text": " "}', b"\xff", b'{"text": "\\ud800"}',
        b'{"text": "bad"}', b"[" * 100_000,
    ]  # fmt: skip
    source.write_bytes(b"\n".join(rows))
    predict.run(PredictConfig(variant=variant, input=source, output=output))
    assert [json.loads(line)["line"] for line in output.read_text().splitlines()] == [1, 7]
    said = capsys.readouterr()
    assert said.out == f"labelled: 2 texts, in {output}\n"
    assert said.err.startswith(
        "not labelled: 6 lines (line 2: no JSON; line 3: has no field 'text' with a string; line 4: empty; "
        "line 5: no UTF-8; line 6: "
    )
    assert said.err.endswith("; and 1 more)\n")


def test_predict_refuses_what_it_cannot_read_or_write(variant, tmp_path):
    with pytest.raises(UserError, match=r"^--input .*none.txt: there is no such file$"):
        predict.run(PredictConfig(variant=variant, input=tmp_path / "none.txt"))
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(UserError, match=r"holds no text that can be labelled \(line 1: empty; line 2: empty\)$"):
        predict.run(PredictConfig(variant=variant, input=tmp_path / "empty.txt", output=tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match=r"^--output .*: cannot be written: No such file or directory$"):
        predict.run(PredictConfig(variant=variant, texts=("a",), output=tmp_path / "none" / "out"))


def test_serve_takes_what_the_latest_run_chose(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError,
        match=r"^runs/model_optimization: holds no run yet: make one by `model-optimization run`, or give "
        r"--serve.variant FOLDER or --serve.registry FOLDER$",
    ):
        serve.run(ServeCommandConfig())
    run = tmp_path / "runs" / "model_optimization" / "20300101-000000-minilm"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("{}")
    with pytest.raises(UserError, match=r"20300101-000000-minilm: ended before a variant was chosen: give --serve"):
        serve.chosen_variant()
    (run / "chosen.txt").write_text("int8\n")
    assert serve.chosen_variant().resolve() == run / "variants" / "int8"


def test_serve_refuses_before_it_loads(tmp_path):
    with pytest.raises(UserError, match=r"^--serve.variant .*none: there is no such folder$"):
        serve.run(ServeCommandConfig(serve=ServeConfig(variant=tmp_path / "none", port=0)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BatchingConfig(max_batch=0), "--serve.batching.max_batch 0 is outside 1 … 1024"),
        (lambda: BatchingConfig(max_wait_ms=-1), "--serve.batching.max_wait_ms -1 is outside 0 … 1000"),
        (lambda: BatchingConfig(max_queue=0), "--serve.batching.max_queue 0 must be at least 1"),
        (lambda: BatchingConfig(deadline_seconds=0), "--serve.batching.deadline_seconds 0 is outside 0 … 3600"),
        (lambda: LimitsConfig(max_texts=0), "--serve.limits.max_texts 0 must be at least 1"),
        (lambda: LimitsConfig(stall_seconds=0), "--serve.limits.stall_seconds 0 must be above 0"),
        (
            lambda: LimitsConfig(requests_per_minute=-1),
            "--serve.limits.requests_per_minute -1 must not be negative; 0 sets no limit",
        ),
        (lambda: TrafficConfig(share=1.1), "--serve.traffic.share 1.1 is outside 0 … 1"),
        (
            lambda: ServeConfig(variant="a", registry="b"),  # type: ignore[arg-type]
            "--serve.variant and --serve.registry: give one of them, not both",
        ),
        (lambda: ServeConfig(port=70_000), "--serve.port 70000 is outside 0 … 65535"),
        (lambda: ServeConfig(host=""), "--serve.host is empty: give an address, such as 127.0.0.1"),
        (lambda: ServeConfig(drain_seconds=-1), "--serve.drain_seconds -1 must not be negative"),
        (lambda: ServeConfig(grace_seconds=0), "--serve.grace_seconds 0 must be at least 1"),
        (lambda: ServeConfig(threads=0), "--serve.threads 0 must be at least 1"),
        (lambda: RegistryConfig(path=""), "--path is empty: give a folder, or sqlite:///FILE"),
        (lambda: RegistryConfig(promote=1, rollback=True), "--promote and --rollback: give one of them, not both"),
        (lambda: RegistryConfig(promote=-1), "--promote -1 is no version: they are numbered from 1"),
        (lambda: PredictConfig(variant="a"), "--texts or --input: give one of them"),  # type: ignore[arg-type]
        (
            lambda: PredictConfig(variant="a", texts=("b",), batch_size=0),  # type: ignore[arg-type]
            "--batch_size 0 is outside 1 … 1024",
        ),
    ],
)
def test_settings_that_make_no_sense_name_their_flag(make, message):
    with pytest.raises(ValueError) as refused:
        make()
    assert str(refused.value) == message
