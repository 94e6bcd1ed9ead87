"""Encoders by name: one interface over torch, ONNX and quantised ONNX."""

import logging
from dataclasses import replace

from rag_qa.config.encoder import EncoderConfig
from rag_qa.retrieval.tokenized_encoder import TokenizedEncoder
from roadmap_shared.errors import one_line

_LOG = logging.getLogger(__name__)


def build_encoder(config: EncoderConfig | None = None) -> TokenizedEncoder:
    """Return the encoder that is configured. The first use of an ONNX one exports it, which takes some seconds.

    Raises:
        UserError: no such model, it cannot be loaded or fetched, or an export was asked for and cannot be had.
    """
    config = config or EncoderConfig()
    if config.backend == "auto":
        return _fastest_exact(config)
    if config.backend == "torch":
        from rag_qa.retrieval.torch_encoder import TorchEncoder

        return TorchEncoder(config)
    from rag_qa.retrieval.onnx_encoder import OnnxEncoder

    return OnnxEncoder(config)


def _fastest_exact(config: EncoderConfig) -> TokenizedEncoder:
    """ONNX Runtime for the CPU: a question takes it a third of torch's time, and it starts without loading torch."""
    from rag_qa.retrieval.onnx_files import ExportError

    if config.device == "cpu":
        try:
            return build_encoder(replace(config, backend="onnx"))
        except ExportError as error:
            _LOG.warning("%s; computed by torch meanwhile", one_line(error))
    return build_encoder(replace(config, backend="torch"))
