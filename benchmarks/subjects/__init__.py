"""What can be measured: artifacts in the runtime, checkpoints in PyTorch, and the same files run by other code."""
