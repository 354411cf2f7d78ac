"""The OpenAPI 3.1 document, written from the tables that check requests and from the annotations of answers."""

from __future__ import annotations

from importlib import metadata
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from seq2seq.app.serving import answers
from seq2seq.app.serving.operations import OPERATIONS, STREAM, Operation
from seq2seq.app.serving.refusals import CODES
from seq2seq.app.serving.shapes import Schema

_PLAIN: dict[Any, Any] = {str: "string", bool: "boolean", int: "integer", float: ["number", "null"]}
_POSTED = (400, 401, 403, 404, 408, 413, 415, 422, 429, 500, 503, 504)
_GOT = (401, 403, 500)


def document() -> Schema:
    """The document that describes the server."""
    components: dict[str, Schema] = {}
    error = answer_schema(answers.Error, components)
    posted = (*OPERATIONS, STREAM)
    paths: Schema = {operation.path: {"post": _posted(operation, components, error)} for operation in posted}
    for path, answer in (("/models", answers.Models), ("/health", answers.Health)):
        paths[path] = {"get": _operation(path, answer, answer_schema(answer, components), _GOT, error)}
    bodies = {operation.body.make.__name__: operation.body.schema() for operation in posted}
    return {
        "openapi": "3.1.0",
        "info": {"title": "seq2seq", "version": metadata.version("seq2seq-jax")},
        "paths": paths,
        "components": {
            "schemas": bodies | components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _posted(operation: Operation, components: dict[str, Schema], error: Schema) -> Schema:
    """The description of an operation whose body is JSON."""
    answer = answer_schema(operation.answer, components)
    named = {"allOf": [answer, {"type": "object", "properties": {"model": {"type": "string"}}, "required": ["model"]}]}
    found = _operation(operation.path, operation.body.make, named, _POSTED, error, operation.media)
    body = {"$ref": f"#/components/schemas/{operation.body.make.__name__}"}
    return found | {"requestBody": {"required": True, "content": {"application/json": {"schema": body}}}}


def _operation(
    path: str,
    described: Any,
    answer: Schema,
    statuses: tuple[int, ...],
    error: Schema,
    media: str = "application/json",
) -> Schema:
    told = "the answer"
    if media == "text/event-stream":
        told = "server-sent events, the data of each a part of the answer in JSON"
        data = {"type": "string", "contentMediaType": "application/json", "contentSchema": answer}
        answer = {"type": "object", "properties": {"data": data}, "required": ["data"]}
    responses: Schema = {"200": {"description": told, "content": {media: {"schema": answer}}}}
    for status in statuses:
        content = {"application/json": {"schema": error}}
        responses[str(status)] = {"description": CODES[status].replace("_", " "), "content": content}
    return {
        "operationId": path.strip("/"),
        "summary": (described.__doc__ or path).splitlines()[0],
        "responses": responses,
    }


def answer_schema(hint: Any, components: dict[str, Schema]) -> Schema:
    """The schema of what an annotation stands for; named tuples are put among the `components`.

    Example:
        >>> answer_schema(list[float], {})
        {'type': 'array', 'items': {'type': ['number', 'null']}}
    """
    origin, args = get_origin(hint), get_args(hint)
    if hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    if origin in (Union, UnionType):
        inner = [answer_schema(arg, components) for arg in args if arg is not NoneType]
        return {"anyOf": [*inner, {"type": "null"}]}
    if origin is list:
        return {"type": "array", "items": answer_schema(args[0], components)}
    if origin is dict:
        return {"type": "object", "additionalProperties": answer_schema(args[1], components)}
    if not hasattr(hint, "_fields"):  # an array: attention
        return answer_schema(list[list[float]], components)
    if hint.__name__ not in components:
        properties = {name: answer_schema(kind, components) for name, kind in get_type_hints(hint).items()}
        required = [name for name in hint._fields if hint is not answers.Error]
        components[hint.__name__] = {
            "type": "object",
            "description": (hint.__doc__ or hint.__name__).splitlines()[0],
            "properties": properties,
            "required": required or ["error"],
        }
    return {"$ref": f"#/components/schemas/{hint.__name__}"}
