"""PNG: 16 bits, colour and metadata, where Pillow is not enough."""
