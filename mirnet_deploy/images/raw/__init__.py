"""Camera RAW: recognised, and developed."""
