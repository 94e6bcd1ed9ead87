"""From our settings of a training to those of transformers' Trainer."""

import os
import sys

from transformers import TrainingArguments
from transformers.utils.import_utils import is_torch_bf16_gpu_available

from bert_sentiment.config import TrainerConfig
from bert_sentiment.models.devices import find_device
from roadmap_shared.errors import UserError

METRICS = {"accuracy": "accuracy", "macro_f1": "macro_f1", "loss": "cross_entropy"}
"""What `compute_metrics` calls each `trainer.metric`."""


def training_arguments(
    config: TrainerConfig, n_texts: int, seed: int, folder: str, max_steps: int | None = None
) -> TrainingArguments:
    """The Trainer's settings for ours.

    Raises:
        UserError: `batch_size` is no multiple of processes × accumulation steps, or the device has no such precision.
    """
    device = find_device(config.device).type
    check_precision(config.precision, device)
    n_processes = int(os.environ.get("WORLD_SIZE", "1"))
    parts = n_processes * config.accumulation_steps
    if config.batch_size % parts:
        raise UserError(
            f"--trainer.batch_size {config.batch_size} is not a multiple of {parts} ({n_processes} processes × "
            f"--trainer.accumulation_steps {config.accumulation_steps})"
        )
    steps_per_epoch = -(-n_texts // config.batch_size)
    steps = min(steps_per_epoch * config.epochs, max_steps or sys.maxsize)
    evaluate_every = min(steps, -(-steps_per_epoch // config.evaluations_per_epoch))
    return TrainingArguments(
        output_dir=folder,
        num_train_epochs=config.epochs,
        max_steps=steps if max_steps else -1,
        per_device_train_batch_size=config.batch_size // parts,
        per_device_eval_batch_size=64,
        gradient_accumulation_steps=config.accumulation_steps,
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.schedule if config.schedule != "constant" else "constant_with_warmup",
        warmup_steps=round(config.warmup_share * steps),
        max_grad_norm=config.clip_norm,
        bf16=config.precision == "bf16",
        fp16=config.precision == "fp16",
        # Said outright: without it the Trainer refuses bf16 where there is no GPU.
        use_cpu=device == "cpu",
        eval_strategy="steps",
        eval_steps=evaluate_every,
        save_strategy="steps",
        save_steps=evaluate_every,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model=f"eval_{METRICS[config.metric]}",
        greater_is_better=config.metric != "loss",
        logging_steps=max(1, steps_per_epoch // 20),
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=device == "cuda",
        remove_unused_columns=False,
        seed=seed,
        data_seed=seed,
    )


def check_precision(precision: str, device: str) -> None:
    """Refuse what the device cannot do.

    bf16 works on a CPU: float32 weights, and matrix products in bfloat16 (autocast). fp16 has so small a range that its
    gradients need a scale, which PyTorch's autocast has for GPUs.

    Args:
        precision: fp32, bf16 or fp16.
        device: the type of a `torch.device`.

    Raises:
        UserError: fp16 without a GPU, or bf16 on a GPU that has none.
    """
    if precision == "fp16" and device == "cpu":
        raise UserError("fp16 needs a GPU; use --trainer.precision bf16 or fp32")
    if precision == "bf16" and device != "cpu" and not is_torch_bf16_gpu_available():
        raise UserError("this GPU has no bf16; use --trainer.precision fp16 or fp32")
