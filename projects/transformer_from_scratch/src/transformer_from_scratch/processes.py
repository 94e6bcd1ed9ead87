"""One process or several: which device to use, who writes, and how a model is spread over them.

Started by `torchrun --nproc-per-node N`, each of N processes runs the whole program and finds its rank in the
environment. Data parallelism (DDP; Li et al. 2020) gives each a copy of the model and its share of every batch, and
averages the gradients. Fully sharded data parallelism (FSDP2; Zhao et al. 2023) cuts the weights into shards too.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

from roadmap_shared.errors import UserError
from transformer_from_scratch.config import TrainerConfig


@dataclass(frozen=True)
class Processes:
    """This process among those of the run."""

    rank: int
    count: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        return self.rank == 0


@contextmanager
def start_processes(config: TrainerConfig) -> Iterator[Processes]:
    """Join the other processes if `torchrun` started several, and choose the device; leave them at the end."""
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes(rank=0, count=1, device=choose_device(config.device))
        return
    device = choose_device(config.device, int(os.environ["LOCAL_RANK"]))
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(rank=dist.get_rank(), count=count, device=device)
    finally:
        dist.destroy_process_group()


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """The device of that name; `auto` takes this process's GPU, else Apple's, else the CPU.

    Raises:
        UserError: there is no such device here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", local_rank % torch.cuda.device_count())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        raise UserError(f"--trainer.device {name}: not available here; use auto or cpu") from None
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", local_rank)
    return device


def check_batch(config: TrainerConfig, processes: Processes) -> None:
    """Raise UserError unless each process gets equally many rows of every part of a batch."""
    parts = processes.count * config.accumulation_steps
    if config.batch_size % parts:
        raise UserError(
            f"--trainer.batch_size {config.batch_size} is not a multiple of {parts} ({processes.count} processes × "
            f"--trainer.accumulation_steps {config.accumulation_steps})"
        )
    if config.parallel == "fsdp" and config.optimizer == "muon":
        raise UserError(
            "--trainer.parallel fsdp cuts matrices apart, which Muon needs whole: add --trainer.optimizer adamw"
        )


def shard(model: nn.Module, config: TrainerConfig, processes: Processes) -> None:
    """Cut the weights into shards, in place, block by block, if the config asks for it and there are several
    processes."""
    if processes.count > 1 and config.parallel == "fsdp":
        from torch.distributed.fsdp import fully_shard

        for module in list(model.modules()):
            if hasattr(module, "feed_forward"):
                fully_shard(module)
        fully_shard(model)


def replicate(module: nn.Module, config: TrainerConfig, processes: Processes) -> nn.Module:
    """The module whose backward pass averages gradients over the processes; itself when there is but one, or under
    FSDP."""
    if processes.count == 1 or config.parallel == "fsdp":
        return module
    from torch.nn.parallel import DistributedDataParallel

    device_ids = [processes.device.index] if processes.device.type == "cuda" else None
    return DistributedDataParallel(module, device_ids=device_ids)
