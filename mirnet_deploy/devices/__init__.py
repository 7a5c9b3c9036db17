"""Where an engine computes: host memory, or a CUDA device through pycuda.

Both have one interface, so that one pipeline drives both, and what a test proves on the host holds on a device.
"""
