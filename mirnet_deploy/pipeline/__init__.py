"""Takes a picture through an engine: cuts it into tiles, runs them in batches, and puts the results together."""
