"""The server's description of itself (OpenAPI 3.1), made from the table of routes and the messages' types."""

from __future__ import annotations

from typing import Any

import msgspec

from broker.drive.http import messages as m
from broker.drive.http import routes
from broker.drive.http.codec import BYTES, JSON, MSGPACK
from broker.drive.http.routes import Route

_REF = "#/components/schemas/{name}"
_BINARY = {"type": "string", "contentMediaType": BYTES}
_STATUSES = ("400", "401", "403", "404", "408", "409", "411", "413", "429")


def description() -> dict[str, Any]:
    kinds: list[Any] = [kind for route in routes.ROUTES for kind in (route.asked, route.answered)]
    kinds = [*dict.fromkeys((*kinds, m.Server, m.Health, m.Failure))]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REF)
    refs: dict[Any, Any] = dict(zip(kinds, schemas, strict=True))
    failures = {status: _answer("No success", refs[m.Failure]) for status in _STATUSES}
    paths: dict[str, Any] = {route.path: {"post": _message(route, refs, failures)} for route in routes.ROUTES}
    paths[routes.SERVER] = {"get": _get("What a client must know", _answer("The server", refs[m.Server]), failures)}
    paths[routes.HEALTH] = {"get": _get("Whether the database answers", _answer("It does", refs[m.Health]), failures)}
    paths[routes.METRICS] = {"get": _get("Numbers for Prometheus", _text("text/plain"), failures)}
    paths[routes.DESCRIPTION] = {"get": _get("This description", _text(JSON), failures)}
    paths[routes.BLOB] = _blob(refs, failures)
    return {
        "openapi": "3.1.0",
        "info": {"title": "seccomp-drive", "version": "1", "description": f"Messages are {MSGPACK}, or {JSON}."},
        "paths": paths,
        "components": {
            "schemas": _with_formats(components),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _with_formats(schema: Any) -> Any:
    """With the format of OpenAPI's older versions for bytes, which more tools know than `contentEncoding`."""
    if isinstance(schema, dict):
        extra = {"format": "byte"} if schema.get("contentEncoding") == "base64" else {}
        return {name: _with_formats(value) for name, value in schema.items()} | extra
    return [_with_formats(each) for each in schema] if isinstance(schema, list) else schema


def _message(route: Route[Any, Any], refs: dict[Any, Any], failures: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": route.summary,
        "requestBody": {"required": True, "content": {JSON: {"schema": refs[route.asked]}}},
        "responses": {"200": _answer("Done", refs[route.answered]), **failures},
    }
    return operation if route.stranger else operation | {"security": [{"token": []}]}


def _get(summary: str, success: dict[str, Any], failures: dict[str, Any]) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": success, **failures}}


def _blob(refs: dict[Any, Any], failures: dict[str, Any]) -> dict[str, Any]:
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"}}
    get = {
        "summary": "The bytes of a blob",
        "parameters": [name],
        "responses": {"200": {"description": "All", "content": {BYTES: {"schema": _BINARY}}}, **failures},
        "security": [{"token": []}],
    }
    put = {
        "summary": "Upload a blob that was announced",
        "parameters": [name],
        "requestBody": {"required": True, "content": {BYTES: {"schema": _BINARY}}},
        "responses": {"200": _answer("Stored", refs[m.Empty]), **failures},
        "security": [{"token": []}],
    }
    return {"get": get, "put": put}


def _answer(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {JSON: {"schema": schema}}}


def _text(media: str) -> dict[str, Any]:
    return {"description": "The text", "content": {media: {}}}
