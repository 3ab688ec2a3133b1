"""The encrypted drive as a remote: paths on top of sealed nodes, entries and chunks."""
