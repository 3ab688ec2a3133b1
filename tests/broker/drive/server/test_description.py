"""The server's own description, and a server under whatever can be made of it."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import status_code_conformance

from broker.drive.http import routes
from broker.drive.http.codec import JSON, decode
from broker.drive.http.messages import Failure
from broker.drive.server.openapi import description
from tests.broker.drive.server.asking import token_of
from tests.broker.drive.server.people import person
from tests.broker.drive.server.serving import ServerProcess

EXAMPLES = int(os.environ.get("SECCOMP_DRIVE_SCHEMA_EXAMPLES", "12"))
"""For each operation, of what the description allows and of what it does not."""

CHECKS = [not_a_server_error, status_code_conformance]
ANSWERS = {route.path: route.answered for route in routes.ROUTES}

schemathesis.openapi.format(
    "byte",
    st.sampled_from([16, 16, 32, 64, 0, 1, 100])
    .flatmap(lambda size: st.binary(min_size=size, max_size=size))
    .map(lambda data: base64.b64encode(data).decode()),
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder: Path = tmp_path_factory.mktemp("described")
    running = ServerProcess(str(folder), f"sqlite:///{folder}/metadata.sqlite", f"file://{folder}/blobs")
    running.start()
    yield running
    assert running.stop() == 0


def test_the_description_has_every_route() -> None:
    described = description()["paths"]
    assert {route.path for route in routes.ROUTES} < set(described)
    assert {routes.SERVER, routes.BLOB, routes.HEALTH, routes.METRICS, routes.DESCRIPTION} < set(described)


def test_nothing_that_can_be_asked_breaks_the_server(server: ServerProcess) -> None:
    """Requests that follow the description and requests that do not, by a user: no answer is one of the 500s, and
    every one has a status and a body that the description knows."""
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    token = asyncio.run(a_token(server.url))
    tried = 0
    for operation in (result.ok() for result in schema.get_all_operations()):
        if operation.path == routes.LOGOUT.path:
            continue
        modes = [GenerationMode.POSITIVE, *([GenerationMode.NEGATIVE] if operation.body else [])]
        for mode in modes:
            strategy = operation.as_strategy(generation_mode=mode)

            @settings(
                max_examples=EXAMPLES,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=strategy)
            def ask(case: schemathesis.Case) -> None:
                nonlocal tried
                answer = case.call(base_url=server.url, headers={"Authorization": f"Bearer {token}"})
                assert answer.status_code < 500, (case.as_curl_command(), answer.text)
                case.validate_response(answer, checks=CHECKS)
                if case.operation.path in ANSWERS:
                    kind = ANSWERS[case.operation.path] if answer.status_code == 200 else Failure
                    assert decode(answer.content, kind, JSON)
                tried += 1

            ask()
    assert tried > 10 * EXAMPLES
    assert '"status": 5' not in server.log and "Traceback" not in server.log


async def a_token(url: str) -> str:
    alice = await person(url)
    return await token_of(alice)
