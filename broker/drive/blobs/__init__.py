"""Where sealed chunks are kept."""
