"""From a checkpoint to ONNX files and TensorRT plans, each step with its proof."""
