"""Command lines of the drive's commands."""

from __future__ import annotations

import argparse
from typing import NoReturn

from launcher.usage import UsageError


class Parser(argparse.ArgumentParser):
    """argparse, with errors that the caller says."""

    def __init__(self, command: str, purpose: str) -> None:
        super().__init__(f"seccomp-drive {command}", description=purpose, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog.partition(' ')[2]}: {message}")
