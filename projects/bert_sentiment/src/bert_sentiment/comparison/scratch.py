"""A small BERT that knows nothing: random weights, and tokens learned from the training texts alone.

It answers what pretraining is worth: the same kind of network, without it.
"""

from collections.abc import Sequence

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from bert_sentiment.config import PreprocessingConfig, ScratchConfig
from bert_sentiment.data.preprocessor import clean
from bert_sentiment.models.bert_classifier import SentimentModel

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def build_scratch(
    config: ScratchConfig,
    preprocessing: PreprocessingConfig,
    texts: Sequence[str],
    labels: Sequence[str],
    seed: int,
) -> SentimentModel:
    """An untrained classifier whose weights depend on `seed` and whose tokens depend on `texts` alone."""
    tokenizer = train_wordpiece([clean(text, preprocessing) for text in texts], config.vocabulary)
    settings = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=config.width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        intermediate_size=4 * config.width,
        max_position_embeddings=preprocessing.max_length,
        pad_token_id=SPECIAL.index("[PAD]"),
    )
    settings.id2label = dict(enumerate(labels))
    settings.label2id = {label: index for index, label in enumerate(labels)}
    torch.manual_seed(seed)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=preprocessing.max_length,
        **{f"{token[1:-1].lower()}_token": token for token in SPECIAL},
    )
    return SentimentModel(BertForSequenceClassification(settings), fast, preprocessing)


def train_wordpiece(texts: Sequence[str], size: int) -> Tokenizer:
    """WordPiece with at most `size` tokens, if the texts have no more letters, the same for the same texts.

    Schuster & Nakajima (2012), "Japanese and Korean Voice Search". Its trainer in the library tokenizers joins the
    pieces that stand together most often, and numbers the letters inside words (`##a`) as it meets them in a hash map,
    whose order differs from one process to the next: pieces of equal frequency are then joined in another order.
    Given first, as special tokens, the letters have fixed numbers.
    """
    normalizer, cutter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    words = (word for text in texts for word, _ in cutter.pre_tokenize_str(normalizer.normalize_str(text)))
    letters = sorted({f"##{letter}" for word in words for letter in word})
    learner = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    learner.normalizer, learner.pre_tokenizer = normalizer, cutter  # type: ignore[assignment]
    trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=[*SPECIAL, *letters], show_progress=False)
    learner.train_from_iterator(texts, trainer)
    # The same tokens in a tokenizer to which the letters are tokens like any other.
    tokenizer = Tokenizer(models.WordPiece(learner.get_vocab(), unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, cutter  # type: ignore[assignment]
    tokenizer.add_special_tokens(list(SPECIAL))
    marks = [(token, SPECIAL.index(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=marks
    )
    return tokenizer
