"""The model that a run works with: one that is there already, one trained earlier with the same settings, or a new
one."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import transformers

from roadmap_shared.runs import Run
from text_generation.backends.hf_loading import quiet_transformers
from text_generation.config.commands import GenerationConfig
from text_generation.config.training import TrainerConfig
from text_generation.corpora.types import Corpus, texts_of
from text_generation.run_layout import MODELS, PROJECT
from text_generation.tokenizer import train_tokenizer
from text_generation.training.model import build_model
from text_generation.training.pretraining import encoded_corpus, pretrain

TRAINING_VERSION = 2
"""Raised when the same settings come to train another model."""

CHANGE_NO_WEIGHT = ("threads", "device", "evaluate_every", "checkpoint_every")
"""Settings of the trainer that decide no weight."""


def trained_model(config: GenerationConfig, corpus: Corpus, run: Run, say: Callable[[str], None]) -> str:
    """Folder or hub id of the model of this run.

    A trained model is kept in `<run.root>/text_generation/models/<key>`; the key stands for the texts and every
    setting that decides the weights, so that a second run with the same ones trains none.
    """
    if config.model.name is not None:
        return config.model.name
    folder = config.run.root / PROJECT / MODELS / model_key(config, corpus)
    if (folder / "config.json").is_file():
        os.utime(folder)  # the last one used is what `--backend.model latest` means
        say(f"using the model that was trained earlier with these settings: {folder}")
        return str(folder)
    documents = texts_of(corpus.train)
    tokenizer = train_tokenizer(documents, config.tokenizer, context=config.model.context)
    model = build_model(config.model, tokenizer, run.seed)
    pretrain(model, encoded_corpus(documents, texts_of(corpus.validation), tokenizer), config.trainer, run)
    save_whole(folder, model, tokenizer)
    return str(folder)


def model_key(config: GenerationConfig, corpus: Corpus) -> str:
    """Twelve hexadecimal digits: the same for the same texts, settings, seed and library versions."""
    texts = hashlib.sha256()
    for document in (*corpus.train, *corpus.validation):
        texts.update(hashlib.sha256(document.text.encode()).digest())
    settings: dict[str, Any] = {
        "version": TRAINING_VERSION,
        "texts": texts.hexdigest(),
        "seed": config.run.seed,
        "tokenizer": asdict(config.tokenizer),
        "model": asdict(config.model),
        "trainer": deciding(config.trainer),
        "libraries": [torch.__version__, transformers.__version__],
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


def deciding(config: TrainerConfig) -> dict[str, Any]:
    """The settings of a training that decide its weights."""
    return {name: value for name, value in asdict(config).items() if name not in CHANGE_NO_WEIGHT}


def save_whole(folder: Path, model: Any, tokenizer: Any) -> None:
    """Write a folder for `from_pretrained`, under another name first: it is whole or absent."""
    unfinished = folder.with_name(f".{folder.name}-{os.getpid()}")
    try:
        unfinished.mkdir(parents=True)
        with quiet_transformers():
            model.save_pretrained(unfinished)
            tokenizer.save_pretrained(unfinished)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
