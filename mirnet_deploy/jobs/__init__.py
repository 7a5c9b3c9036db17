"""Files in, files out: many pictures through one model."""
