"""What runs a network: one small interface over ONNX Runtime and TensorRT. `opening` chooses by the artifact's kind."""
