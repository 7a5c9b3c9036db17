"""A picture through an engine: cut into tiles, run in batches, put together again."""
