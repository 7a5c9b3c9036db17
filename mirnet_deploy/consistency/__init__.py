"""The means that a picture's tiles share, so that together they give what the network gives for the whole picture."""
