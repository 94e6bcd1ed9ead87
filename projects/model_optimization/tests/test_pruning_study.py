"""The curves and figures of pruning show the numbers that they are given."""

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from model_optimization.pruning.figures import cut_curve_figure, importance_figure, layer_figure
from model_optimization.pruning.importance import Importance, importance
from model_optimization.pruning.layer_pruning import LayerRemoval
from model_optimization.pruning.pruning_study import cut_curves, masks_without
from model_optimization.pruning.structured_pruning import cut_heads, cut_neurons
from roadmap_shared.report import figure_svg

from .pruning_models import LABELLED
from .tiny_models import tiny_classifier


def axes_of(figure: Figure) -> list[Any]:
    """The figure's axes; their artists' exact kinds are known to the tests, not to a type checker."""
    return list(figure.axes)


def test_masks_by_hand() -> None:
    scores = [np.array([5, 1, 4], dtype=np.float32), np.array([2, 3], dtype=np.float32)]
    assert [mask.tolist() for mask in masks_without(scores, 0.4)] == [[1, 0, 1], [0, 1]]
    assert [mask.tolist() for mask in masks_without(scores, 0.0)] == [[1, 1, 1], [1, 1]]
    assert [mask.tolist() for mask in masks_without(scores, 1.0)] == [[0, 0, 0], [0, 0]]


def test_curves_are_the_accuracy_of_cut_networks() -> None:
    classifier = tiny_classifier()
    flat = np.arange(1, 65, dtype=np.float32)
    rated = Importance(heads=(np.array([3, 1, 2, 4], dtype=np.float32),) * 2, neurons=(flat, flat), texts=1)
    points = {(p.unit, p.order, p.share_cut): p for p in cut_curves(classifier, rated, LABELLED, (0.5,), seed=0)}
    assert len(points) == 8
    heads = cut_heads(classifier, [np.array([0, 3])] * 2)
    neurons = cut_neurons(classifier, [np.arange(32, 64)] * 2)
    for unit, order, share, network in (
        ("heads", "importance", 0.0, classifier),
        ("heads", "importance", 0.5, heads),
        ("neurons", "importance", 0.5, neurons),
    ):
        right = network.logits(LABELLED.texts).argmax(1) == LABELLED.targets
        assert points[unit, order, share].accuracy.estimate == right.mean()


def test_figures_show_their_numbers() -> None:
    classifier = tiny_classifier()
    rated = importance(classifier, LABELLED)
    figure = importance_figure(rated)
    figure_svg(figure)  # lays it out
    left, right, *_ = axes_of(figure)
    np.testing.assert_allclose(left.images[0].get_array(), np.stack(rated.heads))
    assert right.lines[1].get_ydata() == pytest.approx(np.sort(rated.neurons[1])[::-1])
    points = cut_curves(classifier, rated, LABELLED, (0.25, 0.5), seed=0)
    panels = axes_of(cut_curve_figure(points))
    assert [line.get_label() for line in panels[0].lines] == ["importance", "chance"]
    for panel, unit in zip(panels, ("heads", "neurons"), strict=True):
        expected = [p.accuracy.estimate for p in points if (p.unit, p.order) == (unit, "importance")]
        assert panel.lines[0].get_xdata().tolist() == [0.0, 0.25, 0.5]
        assert panel.lines[0].get_ydata().tolist() == expected


def test_layers_of_differing_size_leave_gaps() -> None:
    rated = Importance(
        heads=(np.ones(2, dtype=np.float32), np.ones(3, dtype=np.float32)),
        neurons=(np.ones(4, dtype=np.float32), np.zeros(5, dtype=np.float32)),
        texts=1,
    )
    grid = axes_of(importance_figure(rated))[0].images[0].get_array()
    assert np.isnan(np.ma.filled(grid, np.nan)).tolist() == [[False, False, True], [False, False, False]]


def test_the_layer_that_is_missed_least_stands_out() -> None:
    tried = [
        LayerRemoval(layer=layer, without=(), loss=loss, accuracy=0.5) for layer, loss in enumerate((0.9, 0.4, 0.6))
    ]
    tried.append(LayerRemoval(layer=0, without=(1,), loss=0.1, accuracy=0.5))
    (axes,) = axes_of(layer_figure(tried))
    assert [bar.get_width() for bar in axes.patches] == [0.9, 0.4, 0.6]
    colors = [bar.get_facecolor() for bar in axes.patches]
    assert colors[1] != colors[0] == colors[2]
