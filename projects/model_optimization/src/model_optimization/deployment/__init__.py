"""From a trained network to a served one: ONNX, registry, server, containers."""
