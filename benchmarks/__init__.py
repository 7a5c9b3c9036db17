"""Latency, memory and quality of engines, measured side by side and reported with the protocol."""
