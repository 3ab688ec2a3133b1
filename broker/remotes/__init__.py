"""Remotes: where the files of a drive really are, behind one protocol."""
