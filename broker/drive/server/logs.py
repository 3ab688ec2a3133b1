"""Structured logs: one JSON object a line, and in it nothing that anybody could use."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TextIO

LOG = logging.getLogger("broker.drive.server")


class JsonLines(logging.Formatter):
    """Of an exception only its type and where it was raised: its text can hold what was sent, or a statement's
    values."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0]:
            line["error"] = _told(record.exc_info[1])
        return json.dumps(line)


@contextmanager
def logging_to(stream: TextIO = sys.stderr) -> Iterator[None]:
    """All that the server says, and of its libraries what is of interest, goes to `stream` within the block."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    levels = {root: logging.WARNING, LOG: logging.INFO, logging.getLogger("uvicorn"): logging.INFO}
    before = {logger: logger.level for logger in levels}
    root.addHandler(handler)
    for logger, level in levels.items():
        logger.setLevel(level)
    try:
        yield
    finally:
        root.removeHandler(handler)
        for logger, level in before.items():
            logger.setLevel(level)


def _told(error: BaseException | None) -> list[str]:
    """The chain of exceptions, last first."""
    told: list[str] = []
    while error is not None and len(told) < 8:
        told.append(f"{type(error).__module__}.{type(error).__qualname__} at {_where(error.__traceback__)}")
        error = error.__cause__ or error.__context__
    return told


def _where(trace: TracebackType | None) -> str:
    frames = traceback.extract_tb(trace)
    return " < ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in reversed(frames[-8:]))
