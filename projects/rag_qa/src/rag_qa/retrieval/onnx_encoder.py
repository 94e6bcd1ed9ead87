"""The encoder as ONNX Runtime computes it, in 32 bits or with matrix products in 8."""

import numpy as np
from tokenizers import Tokenizer

from rag_qa.config.encoder import EncoderConfig
from rag_qa.protocols import FloatArray, IdArray
from rag_qa.retrieval.encoder_files import FLOAT32, fingerprint, model_folder
from rag_qa.retrieval.onnx_files import MODEL, TOKENIZER, ExportError, default_cache, open_session, read_about
from rag_qa.retrieval.tokenized_encoder import TextLimits, TokenizedEncoder
from roadmap_shared.errors import UserError

EXPORT = "export-2"
"""Changes with the way of exporting: what was exported otherwise is exported again."""


class OnnxEncoder(TokenizedEncoder):
    """One text at a time; the first use of a model exports it, which needs torch and some seconds."""

    def __init__(self, config: EncoderConfig) -> None:
        """Open the export, or make it.

        Raises:
            UserError: no such model, or ONNX Runtime is asked for another device than the CPU.
            ExportError: the model cannot be exported, its export does not agree with torch, or cannot be kept.
        """
        if config.device != "cpu":
            raise UserError(
                f"--encoder.backend {config.backend} computes on the CPU: leave --encoder.device out, not "
                f"{config.device!r}"
            )
        folder = model_folder(config.model)
        kept = (config.cache or default_cache()) / fingerprint(folder, config.backend, EXPORT)
        about = read_about(kept)
        if about is None:
            from rag_qa.retrieval.onnx_export import export

            export(folder, config, kept)
            about = read_about(kept)
        if about is None:
            raise ExportError(
                f"ONNX cache {kept}: damaged as soon as it was written: free its disk, or name another folder"
            )
        arithmetic = (FLOAT32,) if config.backend == "onnx" else (config.backend, EXPORT)
        self._session = open_session(kept / MODEL, config.threads)
        super().__init__(
            config.model,
            fingerprint(folder, *arithmetic, config.query_prompt, config.passage_prompt),
            about.dimension,
            Tokenizer.from_file(str(kept / TOKENIZER)),
            TextLimits(max_length=about.max_length, pad_id=about.pad_id, unknown_id=about.unknown_id),
            batch_size=1,
            query_prompt=config.query_prompt,
            passage_prompt=config.passage_prompt,
        )

    def _vectors(self, ids: IdArray, mask: IdArray) -> FloatArray:
        if not ids.shape[1]:  # a tokenizer without special tokens, and a text without words
            raise ValueError("a text without tokens has no vector")
        return np.asarray(self._session.run(None, {"input_ids": ids})[0], dtype=np.float32)
