"""Videos: frames in order, and where one scene ends and the next begins."""
