"""Encoders by name: one interface over torch, ONNX and quantised ONNX."""

from rag_qa.config.encoder import EncoderConfig
from rag_qa.retrieval.tokenized_encoder import TokenizedEncoder


def build_encoder(config: EncoderConfig | None = None) -> TokenizedEncoder:
    """Return the encoder that is configured. The first use of an ONNX one exports it, which takes some seconds.

    Raises:
        UserError: no such model, it cannot be loaded or fetched, or its export does not agree with it.
    """
    config = config or EncoderConfig()
    if config.backend == "torch":
        from rag_qa.retrieval.torch_encoder import TorchEncoder

        return TorchEncoder(config)
    from rag_qa.retrieval.onnx_encoder import OnnxEncoder

    return OnnxEncoder(config)
