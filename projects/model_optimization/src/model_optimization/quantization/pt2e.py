"""Quantisation of an exported program (PT2E) with torchao's quantiser for x86 and the compiler of torch, Inductor.

torch.export turns the network into one graph; the quantiser marks the linear layers in it, observers see calibration
texts, and the converted graph holds int8 weights between quantise and dequantise operators. Inductor fuses these to
calls of oneDNN's int8 kernels, for one shape of the input at a time.

Shapes: B texts of a batch, T tokens, K labels.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from model_optimization.batching import padded
from model_optimization.quantization.extras import imported, quiet
from model_optimization.types import TokenIds
from roadmap_shared.errors import UserError, one_line

_MODULE = "torchao.quantization.pt2e"
_LOGGERS = ("torch.export", "torch._export", "torch.fx", "torch._dynamo", "torch._inductor", "torchao")


class ProgramInTraining(nn.Module):
    """A network's exported program with fake quantisation, trained like the network itself."""

    def __init__(self, network: PreTrainedModel) -> None:
        super().__init__()
        self._pt2e = imported(_MODULE, "torchao")
        prepare = imported(f"{_MODULE}.quantize_pt2e", "torchao").prepare_qat_pt2e
        network.train()  # dropout is exported with it
        had = network.config._attn_implementation or "eager"
        # Dropout inside the fused attention operator is no node of the graph, and would go on in evaluation.
        network.set_attn_implementation("eager")
        with quiet(*_LOGGERS), _known_warnings():
            self.program = prepare(exported_program(network), _quantizer(is_qat=True))
        network.set_attn_implementation(had)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        return SimpleNamespace(logits=self.program(input_ids, attention_mask))

    def train(self, mode: bool = True) -> "ProgramInTraining":
        """Exported programs refuse `train` and `eval`: torchao changes dropout in the graph instead."""
        move = self._pt2e.move_exported_model_to_train if mode else self._pt2e.move_exported_model_to_eval
        move(self.program)
        return self

    def copy_weights_to(self, network: PreTrainedModel) -> None:
        """Give the network, which the program was exported from, the weights that the program learned."""
        learned = {name.removeprefix("network."): value for name, value in self.program.named_parameters()}
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                parameter.copy_(learned[name])


class CompiledProgram(nn.Module):
    """A quantised program, compiled for `rows` texts of `length` tokens; other shapes are cut and padded to that.

    With static ranges a text's logits do not depend on the texts beside it, nor on padding.
    """

    def __init__(self, network: PreTrainedModel, calibration: Sequence[TokenIds], rows: int, length: int) -> None:
        super().__init__()
        self.config, self.rows, self.length = network.config, rows, length
        self.pad_id = network.config.pad_token_id or 0
        program = static_program(network.eval(), calibration, self.pad_id)
        from torch._inductor import config as inductor

        # Frozen weights are constants to the compiler: only then does it choose the int8 kernels.
        with inductor.patch(freezing=True), quiet(*_LOGGERS), torch.inference_mode(), _known_warnings():
            self._program = torch.compile(program, dynamic=False)
            self._compile()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        batch, tokens = input_ids.shape
        if tokens > self.length:
            raise ValueError(f"{tokens} tokens, but the program was compiled for {self.length}")
        room = (0, self.length - tokens, 0, -batch % self.rows)
        ids, mask = F.pad(input_ids, room, value=self.pad_id), F.pad(attention_mask, room)
        mask[batch:, 0] = 1  # a text of padding alone would have nothing to attend to
        from torch._inductor import config as inductor

        with inductor.patch(freezing=True):
            pairs = zip(ids.split(self.rows), mask.split(self.rows), strict=True)
            logits = torch.cat([self._program(*pair).clone() for pair in pairs])
        return SimpleNamespace(logits=logits[:batch])

    def train(self, mode: bool = True) -> "CompiledProgram":
        """Without effect: a compiled program has no dropout to switch, and refuses to be asked."""
        return self

    def _compile(self) -> None:
        shape = (self.rows, self.length)
        try:
            self._program(torch.ones(shape, dtype=torch.int64), torch.ones(shape, dtype=torch.int64))
        except Exception as error:  # of many kinds: no C++ compiler, an operator that Inductor lacks
            raise UserError(
                f"pt2e_x86: Inductor cannot compile the network ({one_line(error)[:200]}): it needs a C++ compiler, "
                "such as g++, when the variant is loaded; the variants of ONNX Runtime need none"
            ) from error


def static_program(network: PreTrainedModel, calibration: Sequence[TokenIds], pad_id: int) -> Any:
    """The exported program with int8 weights per channel and static activation ranges of the calibration texts.

    Raises:
        UserError: there are no calibration texts, or torchao is missing.
    """
    if not calibration:
        raise UserError("pt2e_x86: there are no calibration texts: the ranges of the activations come from them")
    pt2e = imported(f"{_MODULE}.quantize_pt2e", "torchao")
    with quiet(*_LOGGERS), _known_warnings(), torch.no_grad():
        program = pt2e.prepare_pt2e(exported_program(network), _quantizer(is_qat=False))
        for sequence in calibration:  # one by one: padding is no part of the texts' statistics
            program(*map(torch.from_numpy, padded([sequence], pad_id)))
        return pt2e.convert_pt2e(program)


def exported_program(network: PreTrainedModel) -> Any:
    """The network as a graph of (B, T) token numbers and mask to (B, K) logits, B and T open.

    Raises:
        UserError: torch.export cannot follow the network.
    """
    ids = torch.ones(2, 16, dtype=torch.int64)
    mask = torch.ones_like(ids)
    mask[0, 10:] = 0  # some padding: the mask stays in the graph
    longest = getattr(network.config, "max_position_embeddings", None) or 512
    sizes = {0: torch.export.Dim("batch", min=1, max=512), 1: torch.export.Dim("tokens", min=2, max=longest)}
    try:
        return torch.export.export(_Logits(network), (ids, mask), dynamic_shapes=(sizes, sizes)).module()
    except Exception as error:  # of many kinds, from the exporter's depths
        raise UserError(
            f"{type(network).__name__}: torch.export cannot follow it ({one_line(error)[:200]}): use the variants of "
            "ONNX Runtime"
        ) from error


class _Logits(nn.Module):
    def __init__(self, network: PreTrainedModel) -> None:
        super().__init__()
        self.network = network
        self.training = network.training

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.network(input_ids=input_ids, attention_mask=attention_mask).logits


def _quantizer(*, is_qat: bool) -> Any:
    x86 = imported(f"{_MODULE}.quantizer.x86_inductor_quantizer", "torchao")
    config = x86.get_default_x86_inductor_quantization_config(is_qat=is_qat)
    return x86.X86InductorQuantizer().set_global(config)


@contextmanager
def _known_warnings() -> Iterator[None]:
    """Keep back what torch warns of in its own code; anything else comes through."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.script_method` is deprecated", DeprecationWarning)
        warnings.filterwarnings("ignore", "To copy construct from a tensor", UserWarning)
        yield
