"""The same network as many graphs: which exporter, which attention, which graph optimisations are worth it.

Every row states how many nodes the file has and how many are left when ONNX Runtime has optimised it, how far its
logits are from torch's, and its CPU time against torch's. Fewer nodes are not always faster: fused kernels such as
SkipLayerNormalization and Attention were written for other sizes and other machines, and can lose on a small encoder.
"""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import onnx
import torch

from model_optimization.config.export import ComparisonConfig, ExportConfig
from model_optimization.deployment.onnx_conversion import (
    graph_difference,
    longest_text,
    probe,
    trace,
)
from model_optimization.deployment.onnx_session import SLOW_FUSIONS
from model_optimization.machine import threads_wanted
from model_optimization.torch_classifier import TorchClassifier
from roadmap_shared.errors import UserError, one_line
from roadmap_shared.progress import progress

Level = Literal["disabled", "basic", "extended", "all"]
_FUSED = (
    "Attention",
    "MultiHeadAttention",
    "SkipLayerNormalization",
    "BiasGelu",
    "EmbedLayerNormalization",
    "FusedMatMul",
)


@dataclass(frozen=True, kw_only=True)
class Graph:
    """One way to compute the network."""

    name: str
    path: Path
    level: Level = "all"
    """Graph optimisations of ONNX Runtime that are applied on loading."""

    disabled: tuple[str, ...] = ()
    """Optimisations of that level that are left out."""


@dataclass(frozen=True, kw_only=True)
class GraphRow:
    """What one graph is and costs."""

    name: str
    nodes: int
    """In the file."""

    nodes_run: int
    """Left after the optimisations on loading."""

    fused: Mapping[str, int]
    """Fused operators among them."""

    megabytes: float
    max_difference: float
    """Largest difference of a logit from torch's, on padded and unpadded inputs."""

    speedup: Mapping[int, float]
    """CPU time of torch over that of the graph, for each batch size: above 1 is faster than torch."""


def compare_graphs(
    classifier: TorchClassifier, folder: Path, export: ExportConfig, config: ComparisonConfig
) -> tuple[list[GraphRow], list[str]]:
    """Export, optimise and race every graph.

    Args:
        classifier: the network, which is the race's first contestant and the reference of all differences.
        folder: an empty one, for the graphs.
        export: its operators' versions.
        config: sizes and repeats of the race.

    Returns:
        A row for each graph, and a line for each that could not be made.
    """
    graphs, failures = _graphs(classifier, folder, export)
    sessions = {graph.name: open_graph(graph, graph.path.with_suffix(".run.onnx")) for graph in graphs}
    speedups = {
        batch: _speedups(classifier, sessions, (batch, min(config.tokens, longest_text(classifier))), config.repeats)
        for batch in config.batches
    }
    rows = []
    for graph in graphs:
        operators = _operators(graph.path.with_suffix(".run.onnx"))
        rows.append(
            GraphRow(
                name=graph.name,
                nodes=sum(_operators(graph.path).values()),
                nodes_run=sum(operators.values()),
                fused={name: operators[name] for name in _FUSED if operators[name]},
                megabytes=graph.path.stat().st_size / 1e6,
                max_difference=graph_difference(classifier, sessions[graph.name]),
                speedup={batch: speedups[batch][graph.name] for batch in config.batches},
            )
        )
    return rows, failures


def table(rows: Sequence[GraphRow]) -> str:
    """The rows as text, one line each under a line of headings."""
    width = max(len(row.name) for row in rows)
    batches = tuple(rows[0].speedup)
    heads = " ".join(f"{f'batch {batch}':>9}" for batch in batches)
    lines = [f"{'graph':<{width}} {'nodes':>5} {'run':>5} {'MB':>6} {'difference':>10} {heads}  fused"]
    for row in rows:
        ratios = " ".join(f"{row.speedup[batch]:>8.2f}x" for batch in batches)
        fused = ", ".join(f"{count} {name}" for name, count in row.fused.items()) or "-"
        lines.append(
            f"{row.name:<{width}} {row.nodes:>5} {row.nodes_run:>5} {row.megabytes:>6.1f} {row.max_difference:>10.1e} "
            f"{ratios}  {fused}"
        )
    return "\n".join(lines)


def fuse(source: Path, target: Path, classifier: TorchClassifier) -> None:
    """Rewrite a BERT graph with `onnxruntime.transformers`, which fuses whole attention layers into one operator.

    Raises:
        UserError: it fuses no attention in this graph.
    """
    from onnxruntime.transformers import optimizer
    from onnxruntime.transformers.fusion_options import FusionOptions

    options = FusionOptions("bert")
    options.use_raw_attention_mask(True)
    settings = classifier.network.config
    try:
        model = optimizer.optimize_model(
            str(source),
            model_type="bert",
            num_heads=getattr(settings, "num_attention_heads", 0),
            hidden_size=getattr(settings, "hidden_size", 0),
            optimization_options=options,
            opt_level=0,
        )
    except Exception as error:  # it assumes BERT's patterns, and fails in many ways without them
        raise UserError(f"{source.name}: onnxruntime.transformers cannot fuse it ({one_line(error)[:120]})") from error
    if not model.get_fused_operator_statistics().get("Attention"):
        raise UserError(f"{source.name}: onnxruntime.transformers finds no attention that it can fuse")
    model.save_model_to_file(str(target))


def open_graph(graph: Graph, optimized: Path | None = None) -> Any:
    """A session of ONNX Runtime with the graph's own options; what it optimised to is written to `optimized`."""
    import onnxruntime

    levels = onnxruntime.GraphOptimizationLevel
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads_wanted(None)
    options.log_severity_level = 3
    options.graph_optimization_level = getattr(levels, f"ORT_{_LEVELS[graph.level]}")
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    return onnxruntime.InferenceSession(
        str(graph.path), options, providers=["CPUExecutionProvider"], disabled_optimizers=list(graph.disabled)
    )


_LEVELS = {"disabled": "DISABLE_ALL", "basic": "ENABLE_BASIC", "extended": "ENABLE_EXTENDED", "all": "ENABLE_ALL"}


def cpu_race(contestants: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Least CPU seconds of each contestant, who take turns, so that a busy machine disturbs all alike."""
    least = dict.fromkeys(contestants, float("inf"))
    for call in contestants.values():
        call()
    for _ in range(repeats):
        for name, call in contestants.items():
            started = time.process_time()
            call()
            least[name] = min(least[name], time.process_time() - started)
    return least


def _graphs(classifier: TorchClassifier, folder: Path, export: ExportConfig) -> tuple[list[Graph], list[str]]:
    graphs: list[Graph] = []
    failures: list[str] = []
    kinds = [(exporter, attention) for exporter in ("legacy", "dynamo") for attention in ("eager", "sdpa")]
    with progress(len(kinds) + 1, "exporting", "graph") as bar:
        for exporter, attention in kinds:
            path = folder / f"{exporter}-{attention}.onnx"
            opset = export.opset if exporter == export.exporter else None
            config = replace(export, exporter=exporter, attention=attention, opset=opset)
            try:
                trace(classifier, path, config)
                graphs.append(Graph(name=f"{exporter}, {attention}", path=path))
            except UserError as error:
                failures.append(str(error))
            bar.update()
        for graph in tuple(graphs):
            graphs += _settings(graph)
        if graphs:
            try:
                graphs.append(_fused(graphs[0], classifier))
            except UserError as error:
                failures.append(str(error))
        bar.update()
    return graphs, failures


def _settings(plain: Graph) -> list[Graph]:
    """A graph with written-out attention under other optimisations on loading."""
    without: dict[str, dict[str, Any]] = {
        "without SkipLayerNorm fusion": {"disabled": SLOW_FUSIONS[:1]},
        "without SkipLayerNorm and BiasGelu fusion": {"disabled": SLOW_FUSIONS},
    }
    levels: dict[str, dict[str, Any]] = {
        "no optimisation": {"level": "disabled"},
        "level basic": {"level": "basic"},
        "level extended": {"level": "extended"},
    }
    wanted = {"legacy, eager": levels | without, "dynamo, eager": without}.get(plain.name, {})
    graphs = []
    for name, settings in wanted.items():
        # A name of its own in the folder, since the optimised form is written beside the file.
        path = plain.path.with_name(f"{plain.path.stem}-{len(graphs)}.onnx")
        shutil.copyfile(plain.path, path)
        graphs.append(replace(plain, name=f"{plain.name}; {name}", path=path, **settings))
    return graphs


def _fused(plain: Graph, classifier: TorchClassifier) -> Graph:
    path = plain.path.with_name("fused.onnx")
    fuse(plain.path, path, classifier)
    return replace(plain, name=f"{plain.name}; fused by onnxruntime.transformers", path=path)


def _speedups(
    classifier: TorchClassifier, sessions: Mapping[str, Any], shape: tuple[int, int], repeats: int
) -> dict[str, float]:
    inputs = probe(classifier, shape, padded=False)
    arrays = {name: tensor.numpy() for name, tensor in inputs.items()}
    contestants: dict[str, Callable[[], object]] = {
        "torch": lambda: classifier.padded_logits(arrays["input_ids"], arrays["attention_mask"])
    }
    for name, session in sessions.items():
        feeds = {item.name: arrays[item.name] for item in session.get_inputs()}
        contestants[name] = lambda session=session, feeds=feeds: session.run(None, feeds)
    threads = torch.get_num_threads()
    torch.set_num_threads(threads_wanted(None))
    try:
        seconds = cpu_race(contestants, repeats)
    finally:
        torch.set_num_threads(threads)
    return {name: seconds["torch"] / max(seconds[name], 1e-9) for name in sessions}


def _operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path, load_external_data=False).graph.node)
