"""The encoder as sentence-transformers computes it."""

from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from torch import nn

from rag_qa.config.encoder import EncoderConfig
from rag_qa.protocols import FloatArray, IdArray
from rag_qa.retrieval.encoder_files import FLOAT32, fingerprint, model_folder
from rag_qa.retrieval.quiet_loading import quiet_loading
from rag_qa.retrieval.tokenized_encoder import TextLimits, TokenizedEncoder
from roadmap_shared.errors import UserError, one_line


class TorchEncoder(TokenizedEncoder):
    """Transformer, pooling and whatever other modules the model's folder names, normalised to length 1."""

    def __init__(self, config: EncoderConfig) -> None:
        """Load the model.

        Raises:
            UserError: no such model, not a sentence-transformers model of texts, or no such device.
        """
        folder = model_folder(config.model)
        self.model = load_model(folder, config)
        super().__init__(
            config.model,
            fingerprint(folder, FLOAT32, config.query_prompt, config.passage_prompt),
            int(self.model.get_embedding_dimension() or 0),
            self.model.tokenizer.backend_tokenizer,
            text_limits(self.model),
            batch_size=config.batch_size,
            query_prompt=config.query_prompt,
            passage_prompt=config.passage_prompt,
        )

    def _vectors(self, ids: IdArray, mask: IdArray) -> FloatArray:
        device = self.model.device
        with torch.inference_mode():
            pooled = Pooled(self.model)(torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device))
        return pooled.cpu().numpy()


class Pooled(nn.Module):
    """(B, T) token ids and mask to (B, D) unit vectors."""

    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        features = self.model.forward({"input_ids": input_ids, "attention_mask": attention_mask})
        return nn.functional.normalize(features["sentence_embedding"].float(), dim=-1)


def load_model(folder: Path, config: EncoderConfig) -> SentenceTransformer:
    """Load a folder in sentence-transformers' layout, in 32 bits.

    Raises:
        UserError: it cannot be loaded, is no model of texts, or there is no such device.
    """
    try:
        device = torch.device(config.device)
        with quiet_loading():
            model = SentenceTransformer(
                str(folder), device=str(device), local_files_only=True, model_kwargs={"dtype": torch.float32}
            )
        backend = getattr(model.tokenizer, "backend_tokenizer", None)
    except (OSError, ValueError, RuntimeError, AttributeError, KeyError, TypeError, AssertionError) as error:
        raise UserError(f"encoder {config.model!r}: cannot be loaded: {one_line(error)[:300]}") from None
    if backend is None:
        raise UserError(f"encoder {config.model!r}: has no tokenizer with offsets, which chunks and citations need")
    return model.eval()


def text_limits(model: SentenceTransformer) -> TextLimits:
    """Length, padding and unknown token of a loaded model."""
    tokenizer = model.tokenizer
    length = model.max_seq_length or tokenizer.model_max_length
    return TextLimits(
        max_length=int(length), pad_id=int(tokenizer.pad_token_id or 0), unknown_id=tokenizer.unk_token_id
    )
