"""Videos: their frames in order, and the cuts between scenes."""
