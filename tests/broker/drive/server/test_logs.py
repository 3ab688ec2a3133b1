"""What the log says of errors."""

from __future__ import annotations

import io
import json
import logging

from broker.drive.server.logs import LOG, logging_to


def test_an_error_is_told_without_its_text() -> None:
    """Its type and where it was raised, of all that led to it: the text could hold what was sent."""
    stream = io.StringIO()
    with logging_to(stream):
        try:
            try:
                raise KeyError("planted")
            except KeyError as error:
                raise ValueError("planted too") from error
        except ValueError as error:
            LOG.error("request", exc_info=error, extra={"fields": {"route": "/nodes"}})
        logging.getLogger("uvicorn.error").info("began")
        logging.getLogger("httpx").info("planted, and of no interest")
    request, began = (json.loads(line) for line in stream.getvalue().splitlines())
    assert "planted" not in stream.getvalue()
    assert (request["level"], request["event"], request["route"]) == ("error", "request", "/nodes")
    assert [told.partition(" at ")[0] for told in request["error"]] == ["builtins.ValueError", "builtins.KeyError"]
    assert "test_logs.py:" in request["error"][0]
    assert began["event"] == "began"


def test_logging_ends_with_its_block() -> None:
    before = list(logging.getLogger().handlers)
    with logging_to(io.StringIO()):
        assert len(logging.getLogger().handlers) == len(before) + 1
    assert logging.getLogger().handlers == before
