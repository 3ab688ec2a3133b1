"""Real programs, each run in a plain folder and on a drive, and compared."""
