"""A classifier that ONNX Runtime computes. Shapes: B texts of a batch, T tokens, K labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging

from model_optimization.batching import BatchedClassifier
from model_optimization.machine import threads_wanted
from model_optimization.types import FloatArray, IntArray
from model_optimization.variants import ONNX_FILE, VariantInfo
from roadmap_shared.errors import UserError, one_line

SLOW_FUSIONS = ("SkipLayerNormFusion", "BiasGeluFusion")
"""Fused kernels of ONNX Runtime that are slower on a CPU than the operators they replace."""

CHUNK = 4
"""Texts of a batch that are computed at once: their activations stay in the processor's cache."""


class OnnxClassifier(BatchedClassifier):
    """Implements `Classifier` by an ONNX graph with the inputs `input_ids` and `attention_mask` and one output."""

    def __init__(
        self,
        session: Any,
        tokenizer: PreTrainedTokenizerBase,
        labels: Sequence[str],
        max_length: int,
        max_chunk: int | None,
    ) -> None:
        super().__init__(tokenizer, labels, max_length)
        self.session: Any = session
        self.max_chunk = max_chunk
        self._inputs = {item.name for item in session.get_inputs()}

    def padded_logits(self, input_ids: IntArray, attention_mask: IntArray) -> FloatArray:
        """(B, K) logits of (B, T) token numbers and their mask, 0 at padding."""
        chunk = self.max_chunk or len(input_ids)
        starts = range(0, len(input_ids), chunk)
        return np.concatenate([self._run(input_ids[at : at + chunk], attention_mask[at : at + chunk]) for at in starts])

    def close(self) -> None:
        """Free the graph and its weights."""
        self.session = None

    def _run(self, input_ids: IntArray, attention_mask: IntArray) -> FloatArray:
        longest = int(attention_mask.sum(1).max())  # of this chunk: the rest of the batch may be longer
        feeds = {"input_ids": input_ids[:, :longest], "attention_mask": attention_mask[:, :longest]}
        if "token_type_ids" in self._inputs:
            feeds["token_type_ids"] = np.zeros_like(feeds["input_ids"])
        return self.session.run(None, feeds)[0].astype(np.float32)

    @classmethod
    def load(cls, folder: Path, info: VariantInfo, threads: int | None = None) -> "OnnxClassifier":
        """Open a variant's folder.

        Raises:
            UserError: the graph or the tokenizer cannot be read, or they are not of a text classifier.
        """
        session = open_session(folder / ONNX_FILE, threads, info.disabled_optimizers)
        verbosity = logging.get_verbosity()
        logging.set_verbosity_error()  # it warns of model types that are not its own, though it reads no model here
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{folder}: its tokenizer cannot be read: {one_line(error)}") from error
        finally:
            logging.set_verbosity(verbosity)
        outputs = session.get_outputs()[0].shape
        inputs = {item.name for item in session.get_inputs()}
        if not {"input_ids", "attention_mask"} <= inputs or outputs[-1] != len(info.labels):
            raise UserError(
                f"{folder / ONNX_FILE}: is no classifier of {len(info.labels)} labels (inputs "
                f"{', '.join(sorted(inputs))}; output {outputs})"
            )
        return cls(session, tokenizer, info.labels, info.max_length, info.max_chunk)


def open_session(path: Path, threads: int | None = None, disabled_optimizers: Sequence[str] = ()) -> Any:
    """A session of ONNX Runtime on the CPU.

    Raises:
        UserError: the file is missing, cut off, or no graph that ONNX Runtime knows.
    """
    import onnxruntime

    if not path.is_file():
        raise UserError(f"{path}: is missing")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads_wanted(threads)
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=list(disabled_optimizers)
        )
    except Exception as error:  # its exceptions share no class but this one
        raise UserError(f"{path}: ONNX Runtime cannot open it: {one_line(error)}") from error
