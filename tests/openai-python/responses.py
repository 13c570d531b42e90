"""OpenAI's own types of its Responses and chat completions APIs, as the openai package has them, against what snug writes.

Reads lines of JSON from standard input, {"kind": KIND, "where": TEXT, "value": VALUE}, prints one line for each value that
does not keep to the types, and exits with 1 if there was any. Fields that the types do not know are errors too.
"""

import json
import sys
import typing

# Pydantic takes an Iterable at its word until somebody walks it, and a string for one. Lists are what JSON has.
typing.Iterable = typing.List

import pydantic
from openai.types.chat.completion_create_params import CompletionCreateParams
from openai.types.responses import Response, ResponseStreamEvent
from openai.types.responses.response_create_params import ResponseCreateParams

TYPES = {
    "responses request": ResponseCreateParams,
    "chat request": CompletionCreateParams,
    "response": Response,
    "event": ResponseStreamEvent,
}
# OpenAI's API answers with it; its types do not say so.
UNTYPED = {".store", ".response.store"}
ADAPTERS = {kind: pydantic.TypeAdapter(type) for kind, type in TYPES.items()}


def unknown_fields(value, path=""):
    """Where a value has fields that its type does not know."""
    if isinstance(value, pydantic.BaseModel):
        yield from (f"{path}.{name}" for name in value.model_extra or {})
        for name in type(value).model_fields:
            yield from unknown_fields(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from unknown_fields(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from unknown_fields(inner, f"{path}[{index}]")


def faults(kind, value):
    try:
        checked = ADAPTERS[kind].validate_json(json.dumps(value), strict=True)
        for path in set(unknown_fields(checked)) - UNTYPED:
            yield f"{path}: not a field of the type"
    except pydantic.ValidationError as error:
        for fault in error.errors(include_url=False, include_context=False):
            yield f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"


failed = checked = 0
for line in sys.stdin:
    case = json.loads(line)
    checked += 1
    found = list(faults(case["kind"], case["value"]))
    failed += bool(found)
    for fault in found[:20]:
        print(f"{case['where']}: {case['kind']}: {fault}")
print(f"{checked} values checked, {failed} do not keep to the types")
sys.exit(bool(failed) or not checked)
