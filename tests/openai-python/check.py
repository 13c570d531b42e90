"""The official openai package for Python against a running snug.

SNUG_BASE_URL         where it answers, without /v1, such as http://127.0.0.1:8787
SNUG_MODEL            id of a chat model it serves
SNUG_EMBEDDING_MODEL  id of a model it embeds with (default: SNUG_MODEL)

Prints one line per check; exits with 1 if any failed. Run it with ./run, which knows where the package is installed.
"""

import asyncio
import json
import os
import sys
import traceback

import openai

BASE_URL = os.environ["SNUG_BASE_URL"].rstrip("/") + "/v1"
MODEL = os.environ["SNUG_MODEL"]
EMBEDDING_MODEL = os.environ.get("SNUG_EMBEDDING_MODEL") or MODEL
UNKNOWN = "no-such-model"
QUESTION = [{"role": "user", "content": "Name one colour."}]

# A retry by the client would hide an error of ours. The first request may wait for a load.
SETTINGS = {"base_url": BASE_URL, "api_key": "unused", "max_retries": 0, "timeout": 300.0}
client = openai.OpenAI(**SETTINGS)


def models_are_listed():
    ids = [model.id for model in client.models.list()]
    assert MODEL in ids, ids


def a_model_is_retrieved():
    model = client.models.retrieve(MODEL)
    assert (model.id, model.object) == (MODEL, "model"), model


def an_unknown_model_is_not_retrieved():
    error = refusal(openai.NotFoundError, lambda: client.models.retrieve(UNKNOWN))
    assert error.code == "model_not_found", error.body


def chat_answers():
    answer = client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=16, temperature=0)
    assert answer.object == "chat.completion", answer
    assert answer.choices[0].message.role == "assistant", answer
    assert answer.choices[0].message.content.strip(), answer
    assert answer.choices[0].finish_reason in ("stop", "length"), answer
    assert answer.usage.prompt_tokens > 0 and 0 < answer.usage.completion_tokens <= 16, answer.usage
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens, answer.usage


def chat_streams():
    stream = client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=16, stream=True)
    chunks = list(stream)
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert len(pieces) > 1 and "".join(pieces).strip(), pieces
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}, chunks
    assert chunks[-1].choices[0].finish_reason in ("stop", "length"), chunks[-1]


def a_stream_ends_with_its_usage_if_asked():
    stream = client.chat.completions.create(
        model=MODEL, messages=QUESTION, max_tokens=8, stream=True, stream_options={"include_usage": True}
    )
    last = list(stream)[-1]
    assert last.choices == [], last
    assert last.usage.prompt_tokens > 0 and 0 < last.usage.completion_tokens <= 8, last.usage


def a_stream_may_be_left_early():
    with client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=512, stream=True) as stream:
        next(iter(stream))
    chat_answers()


def a_json_schema_is_kept():
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "capital": {"type": "boolean"}},
        "required": ["city", "capital"],
        "additionalProperties": False,
    }
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Describe Paris as JSON."}],
        response_format={"type": "json_schema", "json_schema": {"name": "city", "strict": True, "schema": schema}},
        max_tokens=64,
        temperature=0,
    )
    described = json.loads(answer.choices[0].message.content)
    assert set(described) == {"city", "capital"}, described
    assert isinstance(described["city"], str) and isinstance(described["capital"], bool), described


def tools_are_accepted():
    weather = {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather in a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "What is the weather in Oslo?"}],
        tools=[weather],
        max_tokens=48,
    )
    message = answer.choices[0].message
    # Whether so small a model calls the tool is its own affair; that it is answered in the right shape is ours.
    assert message.content or message.tool_calls, answer
    for call in message.tool_calls or []:
        assert call.type == "function" and call.function.name == "weather", call
        json.loads(call.function.arguments)


def a_text_is_completed():
    answer = client.completions.create(model=MODEL, prompt="One, two, three,", max_tokens=8, temperature=0)
    assert answer.object == "text_completion" and answer.choices[0].text.strip(), answer


def texts_are_embedded():
    # The package asks for base64 and decodes it itself.
    answer = client.embeddings.create(model=EMBEDDING_MODEL, input=["a cat", "a kitten", "a tax return"])
    vectors = [row.embedding for row in answer.data]
    assert [row.index for row in answer.data] == [0, 1, 2], answer.data
    assert len({len(vector) for vector in vectors}) == 1 and len(vectors[0]) > 1, [len(vector) for vector in vectors]
    assert vectors[0] != vectors[2]
    again = client.embeddings.create(model=EMBEDDING_MODEL, input="a cat", encoding_format="float").data[0].embedding
    assert all(abs(one - other) < 1e-3 for one, other in zip(vectors[0], again, strict=True))


def eight_at_once_are_all_answered():
    async def ask_all():
        async with openai.AsyncOpenAI(**SETTINGS) as together:
            ask = together.chat.completions.create
            return await asyncio.gather(*(ask(model=MODEL, messages=QUESTION, max_tokens=8) for _ in range(8)))

    answers = asyncio.run(ask_all())
    assert len(answers) == 8 and all(answer.choices[0].message.content for answer in answers), answers


def a_request_id_comes_back():
    answer = client.chat.completions.create(
        model=MODEL, messages=QUESTION, max_tokens=1, extra_headers={"x-request-id": "from-the-client"}
    )
    assert answer._request_id == "from-the-client", answer._request_id
    assert client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=1)._request_id


def an_unknown_model_is_refused_by_name():
    for ask in (
        lambda: client.chat.completions.create(model=UNKNOWN, messages=QUESTION),
        lambda: client.chat.completions.create(model=UNKNOWN, messages=QUESTION, stream=True),
        lambda: client.completions.create(model=UNKNOWN, prompt="One"),
        lambda: client.embeddings.create(model=UNKNOWN, input="one"),
    ):
        error = refusal(openai.NotFoundError, ask)
        assert error.code == "model_not_found", error.body
        assert UNKNOWN in error.body["message"] and MODEL in error.body["message"], error.body


def a_request_without_model_is_refused():
    error = refusal(
        openai.BadRequestError,
        lambda: client.post("/chat/completions", body={"messages": QUESTION}, cast_to=object),
    )
    assert (error.code, error.param) == ("missing_model", "model"), error.body


def a_request_the_engine_cannot_read_is_refused():
    error = refusal(
        openai.BadRequestError,
        lambda: client.post("/chat/completions", body={"model": MODEL, "messages": "not a list"}, cast_to=object),
    )
    assert error.body["message"], error.body


def an_unknown_route_is_refused():
    error = refusal(openai.NotFoundError, lambda: client.get("/no-such-route", cast_to=object))
    assert error.body["message"] and error.body["type"], error.body


def refusal(kind, ask):
    """The error of that very kind with which the request is refused."""
    try:
        answer = ask()
    except openai.APIStatusError as error:
        assert type(error) is kind, f"{type(error).__name__}: {error}"
        return error
    raise AssertionError(f"answered instead of refused: {answer}")


CHECKS = [
    models_are_listed,
    a_model_is_retrieved,
    an_unknown_model_is_not_retrieved,
    chat_answers,
    chat_streams,
    a_stream_ends_with_its_usage_if_asked,
    a_stream_may_be_left_early,
    a_json_schema_is_kept,
    tools_are_accepted,
    a_text_is_completed,
    texts_are_embedded,
    eight_at_once_are_all_answered,
    a_request_id_comes_back,
    an_unknown_model_is_refused_by_name,
    a_request_without_model_is_refused,
    a_request_the_engine_cannot_read_is_refused,
    an_unknown_route_is_refused,
]


def main():
    failed = 0
    for check in CHECKS:
        name = check.__name__.replace("_", " ")
        try:
            check()
        except Exception:  # noqa: BLE001 - one broken check must not hide the others
            failed += 1
            print(f"FAILED  {name}", flush=True)
            traceback.print_exc()
        else:
            print(f"ok      {name}", flush=True)
    print(f"openai {openai.__version__} for Python: {len(CHECKS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
