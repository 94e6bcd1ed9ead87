"""An encoder that guesses masked words.

Shapes: B texts, T tokens, M of them masked, H width of the states, V tokens of the vocabulary.
"""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModelForMaskedLM, PreTrainedModel

from model_optimization.pretrained import quiet_transformers
from roadmap_shared.errors import UserError, one_line


class WordPrediction(nn.Module):
    """logits = LayerNorm(gelu(W h + b)) · Eᵀ + c, with E the encoder's own word embeddings.

    Devlin et al. 2019, "BERT"; tied as in Press & Wolf 2017, "Using the Output Embedding to Improve Language Models".
    The embeddings are handed in at each call, so that nothing is held twice.
    """

    def __init__(self, hidden: int, n_words: int, eps: float = 1e-12) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden, hidden)
        self.norm = nn.LayerNorm(hidden, eps=eps)
        self.bias = nn.Parameter(torch.zeros(n_words))

    def forward(self, states: Tensor, embeddings: Tensor) -> Tensor:
        """(M, H) states and (V, H) embeddings -> (M, V)."""
        return F.linear(self.norm(F.gelu(self.dense(states))), embeddings, self.bias)


class MaskedLanguageModel(nn.Module):
    """An encoder with a word prediction on top; the encoder is the very one that was given."""

    def __init__(self, encoder: PreTrainedModel, head: WordPrediction) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def train(self, mode: bool = True) -> "MaskedLanguageModel":
        """A frozen encoder is no learner: it stays without dropout."""
        super().train(mode)
        if not any(parameter.requires_grad for parameter in self.encoder.parameters()):
            self.encoder.eval()
        return self

    def forward(self, inputs: Mapping[str, Tensor], chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and the (B, T) bool of M tokens to guess -> (M, V) logits and the (B, T, H) last states.

        Only the M tokens are multiplied with the vocabulary: that costs more than the encoder otherwise.
        """
        states = self.encoder(**inputs).last_hidden_state
        return self.head(states[chosen], self.encoder.get_input_embeddings().weight), states  # type: ignore[arg-type]


def encoder_of(network: PreTrainedModel) -> PreTrainedModel:
    """What lies below the classification layer; the very module, not a copy."""
    encoder = network.base_model
    assert isinstance(encoder, PreTrainedModel)
    return encoder


def untrained_head(encoder: PreTrainedModel, seed: int) -> WordPrediction:
    """A word prediction that starts near the identity, drawn from `seed` alone.

    With W near 1 and tied embeddings, a state that resembles a word's embedding already votes for that word.
    """
    config = encoder.config
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        head = WordPrediction(config.hidden_size, config.vocab_size, getattr(config, "layer_norm_eps", 1e-12))
        nn.init.eye_(head.dense.weight)
        head.dense.weight.data += 0.02 * torch.randn_like(head.dense.weight)
        nn.init.zeros_(head.dense.bias)
    return head


def checkpoint_head(source: str) -> WordPrediction | None:
    """The word prediction that a BERT checkpoint was trained with; None where it has none.

    Sentence encoders, such as MiniLM's, and classifiers come without one.

    Raises:
        UserError: the checkpoint cannot be read.
    """
    try:
        with quiet_transformers():
            model, info = AutoModelForMaskedLM.from_pretrained(source, output_loading_info=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(f"--mlm.teacher {source}: is no masked language model: {one_line(error)}") from None
    predictions = getattr(getattr(model, "cls", None), "predictions", None)
    if predictions is None or any("predictions" in name for name in info["missing_keys"]):
        return None
    if model.config.hidden_act != "gelu":
        raise UserError(f"--mlm.teacher {source}: its word prediction uses {model.config.hidden_act}, not gelu")
    head = WordPrediction(model.config.hidden_size, model.config.vocab_size, model.config.layer_norm_eps)
    head.dense.load_state_dict(predictions.transform.dense.state_dict())
    head.norm.load_state_dict(predictions.transform.LayerNorm.state_dict())
    head.bias.data.copy_(predictions.decoder.bias.data)
    return head


def copied(head: WordPrediction) -> WordPrediction:
    """The same weights, to be trained further by another network."""
    return copy.deepcopy(head).requires_grad_(True)
