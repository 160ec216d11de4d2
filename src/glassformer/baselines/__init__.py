"""Models to compare with: the same call as the Transformer, the same trainer."""
