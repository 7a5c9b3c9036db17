"""What runs a network: one small interface over ONNX Runtime and TensorRT. `opening` picks by the artifact's kind."""
