"""Project 4: question answering over your own documents, with citations that can be checked."""

import os

# On Linux and Windows, ONNX Runtime sends its maker figures of its use unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
