"""The drive's format as pure code without I/O: what is sealed, under which key, and bound to which place."""
