"""Where an engine computes: host memory, or a CUDA device through pycuda. One interface, so that one pipeline drives
both, and what a test proves of it on the host holds on the device."""

from mirnet_deploy.devices.base import Driver, Frame, Memory, Stream

__all__ = ["Driver", "Frame", "Memory", "Stream"]
