"""Project 5: make a Transformer small and fast, prove what it cost, deploy and watch it."""

import logging
import os

# On Linux and Windows, ONNX Runtime sends its maker figures of its use unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# transformers imports torchao where it is installed, which tells of kernels for GPUs that cannot be loaded here.
for _name in ("torchao", "torch.utils._pytree"):
    logging.getLogger(_name).setLevel(logging.ERROR)
