"""A transformers network with its tokenizer: the original that everything else is compared with."""

from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from model_optimization.batching import BatchedClassifier
from model_optimization.pretrained import label_names, quiet_transformers, read_classifier
from model_optimization.types import FloatArray, IntArray


class TorchClassifier(BatchedClassifier):
    """Implements `Classifier` by a sequence-classification network of transformers, on a CPU and without dropout."""

    def __init__(self, network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
        super().__init__(tokenizer, label_names(network.config), max_length)
        self.network = network.eval()

    def padded_logits(self, input_ids: IntArray, attention_mask: IntArray) -> FloatArray:
        """(B, K) logits of (B, T) token numbers and their mask, 0 at padding."""
        self.network.eval()
        with torch.inference_mode():
            output = self.network(torch.from_numpy(input_ids), attention_mask=torch.from_numpy(attention_mask))
        return output.logits.float().numpy()

    def save(self, folder: Path) -> None:
        """Write what `from_pretrained` reads, weights as safetensors, into a folder that is there."""
        with quiet_transformers():
            self.network.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)

    @classmethod
    def load(cls, source: str | Path, max_length: int) -> "TorchClassifier":
        """Read a sequence-classification folder.

        Raises:
            UserError: it is missing, damaged, or holds no sequence classifier.
        """
        network, tokenizer = read_classifier(str(source))
        for tensor in (*network.parameters(), *network.buffers()):
            # They are windows on the file, and a file that is cut off later would end the process (SIGBUS).
            tensor.data = tensor.data.clone()
        return cls(network, tokenizer, min(max_length, tokenizer.model_max_length))
