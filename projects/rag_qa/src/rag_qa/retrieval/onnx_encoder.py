"""The encoder as ONNX Runtime computes it, in 32 bits or with matrix products in 8."""

import numpy as np
from tokenizers import Tokenizer

from rag_qa.config.encoder import EncoderConfig
from rag_qa.protocols import FloatArray, IdArray
from rag_qa.retrieval.encoder_files import fingerprint, model_folder
from rag_qa.retrieval.onnx_files import MODEL, TOKENIZER, default_cache, open_session, read_about
from rag_qa.retrieval.tokenized_encoder import TextLimits, TokenizedEncoder
from roadmap_shared.errors import UserError

EXPORT = "export-2"
"""Changes with the way of exporting: what was exported otherwise is exported again."""


class OnnxEncoder(TokenizedEncoder):
    """One text at a time; the first use of a model exports it, which needs torch and some seconds."""

    def __init__(self, config: EncoderConfig) -> None:
        """Open the export, or make it.

        Raises:
            UserError: no such model, or it cannot be exported, or its export does not agree with torch.
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
            raise UserError(
                f"ONNX cache {kept}: damaged as soon as it was written: free its disk, or name another folder"
            )
        self._session = open_session(kept / MODEL, config.threads)
        super().__init__(
            config.model,
            fingerprint(folder, config.backend, EXPORT, config.query_prompt, config.passage_prompt),
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
