"""Formats made of boxes: HEIC, AVIF and JPEG XL."""
