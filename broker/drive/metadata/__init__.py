"""Where nodes, entries and grants are kept."""
