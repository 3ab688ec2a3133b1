"""The drive's own commands, one a module: `run(words)` is given what follows the command's name."""
