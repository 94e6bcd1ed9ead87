"""`transformer-from-scratch translate`: train an encoder-decoder to translate, on sentence pairs from files.

`run` below is the whole story, as in `train_simple_lm`.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from roadmap_shared.runs import start_run
from transformer_from_scratch import tokenizers
from transformer_from_scratch.bleu import System, require_sacrebleu, score_translations
from transformer_from_scratch.config import TranslationConfig
from transformer_from_scratch.models import EncoderDecoder
from transformer_from_scratch.parallel_text import load_parallel_text
from transformer_from_scratch.processes import start_processes
from transformer_from_scratch.seq2seq import SequenceTask, build_encoder_decoder, write_targets
from transformer_from_scratch.sequence_pairs import SPECIAL_TOKENS, Pair, SequencePairs
from transformer_from_scratch.sequence_report import translation_report
from transformer_from_scratch.train_simple_lm import RESUMABLE_CHANGES
from transformer_from_scratch.trainer import mean_tokens_per_second, train
from transformer_from_scratch.word_translation import learn_dictionary, translate_words


def run(config: TranslationConfig) -> dict[str, Any]:
    """Train, translate the test sentences, score and report; returns the summary."""
    require_sacrebleu()
    with (
        start_processes(config.trainer) as processes,
        start_run(
            config, project="transformer_from_scratch", command="translate", resumable_changes=RESUMABLE_CHANGES
        ) as run,
    ):
        pairs = load_parallel_text(config.data, run.seed)
        tokenizer = train_joint_bpe(pairs.train, config.data.vocabulary)
        task = SequenceTask(pairs, tokenizer, config, run.seed)
        model = build_encoder_decoder(config.model, tokenizer.vocab_size, run.seed)
        model = train(model, task, config.trainer, run, processes)
        systems = compare_systems(model, tokenizer, pairs, config)
        scores = summarize(systems, pairs.test)
        if not run.is_main:
            return scores
        scores["tokens_per_second"] = mean_tokens_per_second(run.history())
        return run.finish(scores, translation_report(model, task, pairs, config, scores, systems, run))


def train_joint_bpe(pairs: Sequence[Pair], vocabulary: int) -> tokenizers.Tokenizer:
    """One byte-level BPE for both languages, so that names and numbers are the same tokens on both sides."""
    lines = [text for pair in pairs for text in pair]
    return tokenizers.train("bpe", lines, vocabulary, special_tokens=SPECIAL_TOKENS)


def compare_systems(
    model: EncoderDecoder, tokenizer: tokenizers.Tokenizer, pairs: SequencePairs, config: TranslationConfig
) -> dict[str, System]:
    """What the model and its baselines make of the test sentences."""
    evaluation = config.evaluation
    sources, references = [source for source, _ in pairs.test], [target for _, target in pairs.test]
    dictionary = learn_dictionary(pairs.train)
    translations = {
        "copy": ("copied source", sources),
        "words": ("word by word", [translate_words(source, dictionary) for source in sources]),
        "greedy": ("this Transformer, greedy", write_targets(model, tokenizer, sources, replace(evaluation, beams=1))),
    }
    if evaluation.beams > 1:
        name = f"this Transformer, {evaluation.beams} beams"
        translations["beam"] = (name, write_targets(model, tokenizer, sources, evaluation))
    return {
        key: System(name, texts, score_translations(texts, references, n_resamples=evaluation.n_resamples))
        for key, (name, texts) in translations.items()
    }


def summarize(systems: dict[str, System], test: Sequence[Pair]) -> dict[str, Any]:
    """Flat figures for the summary, those of the model's best search first."""
    best = systems.get("beam", systems["greedy"]).scores
    return {
        "bleu": best.bleu.estimate,
        "bleu_low": best.bleu.low,
        "bleu_high": best.bleu.high,
        "chrf": best.chrf,
        "bleu_greedy": systems["greedy"].scores.bleu.estimate,
        "baseline_copy_bleu": systems["copy"].scores.bleu.estimate,
        "baseline_words_bleu": systems["words"].scores.bleu.estimate,
        "baseline_words_chrf": systems["words"].scores.chrf,
        "sacrebleu": best.signature,
        "n_test": len(test),
    }
