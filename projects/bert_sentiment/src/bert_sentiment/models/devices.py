"""Where a model is trained and used."""

import torch


def find_device(name: str) -> torch.device:
    """`auto` is a GPU where there is one, NVIDIA's or Apple's, else the CPU; any other name is PyTorch's own."""
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
