"""The official anthropic package for Python against a running snug.

SNUG_BASE_URL  where it answers, without /v1, such as http://127.0.0.1:8787
SNUG_MODEL     id of a chat model it serves
SNUG_CALLS     if set, the model calls a tool whenever it must, and only what has to do with tools is checked

Prints one line per check; exits with 1 if any failed. Run it with ./run, which knows where the package is installed.
"""

import asyncio
import json
import os
import sys
import traceback

import anthropic

BASE_URL = os.environ["SNUG_BASE_URL"].rstrip("/")
MODEL = os.environ["SNUG_MODEL"]
CALLS = bool(os.environ.get("SNUG_CALLS"))
UNKNOWN = "no-such-model"
QUESTION = [{"role": "user", "content": "Name one colour."}]
TURNS = 20

READ = {
    "name": "read",
    "description": "Reads a file",
    "input_schema": {"type": "object", "properties": {"path": {"type": "string", "maxLength": 12}}, "required": ["path"]},
}

# A retry by the client would hide an error of ours. The first request may wait for a load.
SETTINGS = {"base_url": BASE_URL, "api_key": "unused", "max_retries": 0, "timeout": 300.0}
client = anthropic.Anthropic(**SETTINGS)


def models_are_listed():
    ids = [model.id for model in client.models.list()]
    assert MODEL in ids, ids


def a_model_is_retrieved():
    model = client.models.retrieve(MODEL)
    assert model.id == MODEL, model


def a_message_is_answered():
    message = client.messages.create(model=MODEL, messages=QUESTION, max_tokens=16, extra_body={"temperature": 0})
    assert (message.type, message.role) == ("message", "assistant") and message.id, message
    assert [block.type for block in message.content] == ["text"] and message.content[0].text.strip(), message
    assert message.stop_reason in ("end_turn", "max_tokens"), message
    usage = message.usage
    assert usage.input_tokens + (usage.cache_read_input_tokens or 0) > 0 and 0 < usage.output_tokens <= 16, usage


def blocks_of_all_kinds_are_taken():
    message = client.messages.create(
        model=MODEL,
        max_tokens=8,
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "Read a."}, {"type": "text", "text": "Now."}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Which file?", "signature": ""},
                    {"type": "text", "text": "Reading."},
                    {"type": "tool_use", "id": "toolu_1", "name": "read", "input": {"path": "a"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "Hello."}]},
                    {"type": "text", "text": "What did it say?", "cache_control": {"type": "ephemeral"}},
                ],
            },
        ],
        tools=[READ],
        stop_sequences=["THE END"],
        metadata={"user_id": "somebody"},
    )
    assert message.usage.output_tokens > 0, message


def a_message_streams():
    with client.messages.stream(model=MODEL, messages=QUESTION, max_tokens=16) as stream:
        events = list(stream)
        final = stream.get_final_message()
    kinds = [event.type for event in events]
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop", kinds
    text = "".join(event.text for event in events if event.type == "text")
    assert kinds.count("text") > 1 and text.strip(), kinds
    assert [block.type for block in final.content] == ["text"] and final.content[0].text == text, final
    assert final.stop_reason in ("end_turn", "max_tokens"), final
    usage = final.usage
    assert usage.input_tokens + (usage.cache_read_input_tokens or 0) > 0 and 0 < usage.output_tokens <= 16, usage


def raw_events_are_in_order():
    with client.messages.create(model=MODEL, messages=QUESTION, max_tokens=8, stream=True) as stream:
        kinds = [event.type for event in stream]
    without = [kind for kind in kinds if kind not in ("content_block_delta", "ping")]
    expected = ["message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop"]
    assert without == expected, kinds
    assert kinds.index("content_block_start") < kinds.index("content_block_delta") < kinds.index("content_block_stop")


def a_stream_may_be_left_early():
    with client.messages.stream(model=MODEL, messages=QUESTION, max_tokens=512) as stream:
        next(iter(stream.text_stream))
    a_message_is_answered()


def a_tool_is_called():
    message = client.messages.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Read the file a.txt."}],
        tools=[READ],
        tool_choice={"type": "any"},
        max_tokens=64,
    )
    uses = [block for block in message.content if block.type == "tool_use"]
    # Whether so small a model calls the tool is its own affair; that it is answered in the right shape is ours.
    assert uses if CALLS else message.content, message
    assert (message.stop_reason == "tool_use") == bool(uses), message
    for use in uses:
        assert use.name == "read" and use.id and isinstance(use.input["path"], str), message


def tools_are_called_in_a_loop():
    """As coding agents do: every turn sends all of the conversation, and the answer streams."""
    messages = [{"role": "user", "content": "Read the files, one after the other."}]
    ids = set()
    for turn in range(TURNS):
        with client.messages.stream(
            model=MODEL,
            system=[{"type": "text", "text": "You read files.", "cache_control": {"type": "ephemeral"}}],
            messages=messages,
            tools=[READ],
            tool_choice={"type": "any", "disable_parallel_tool_use": True},
            max_tokens=16,
            extra_body={"temperature": 0},
        ) as stream:
            pieces = "".join(event.partial_json for event in stream if event.type == "input_json")
            message = stream.get_final_message()
        uses = [block for block in message.content if block.type == "tool_use"]
        assert len(uses) == 1 if CALLS else message.content, (turn, message)
        said = message.to_param()["content"]
        if uses and message.stop_reason == "tool_use":
            assert json.loads(pieces) == uses[0].input and isinstance(uses[0].input["path"], str), (turn, pieces, uses)
            use = uses[0].id
        else:
            # It did not, or was cut short: the conversation goes on as if it had.
            use = f"toolu_{turn}"
            call = {"type": "tool_use", "id": use, "name": "read", "input": {"path": f"{turn}.txt"}}
            said = [block for block in said if block.type != "tool_use"] + [call]
        assert use not in ids, (turn, use)
        ids.add(use)
        messages.append({"role": "assistant", "content": said})
        result = {"type": "tool_result", "tool_use_id": use, "content": f"file {turn}", "is_error": turn % 5 == 4}
        messages.append({"role": "user", "content": [result]})


def a_json_schema_is_kept():
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "capital": {"type": "boolean"}},
        "required": ["city", "capital"],
        "additionalProperties": False,
    }
    message = client.messages.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Describe Paris as JSON."}],
        output_config={"format": {"type": "json_schema", "schema": schema}},
        max_tokens=64,
        extra_body={"temperature": 0},
    )
    described = json.loads(message.content[0].text)
    assert set(described) == {"city", "capital"}, described


def tokens_are_counted():
    count = client.messages.count_tokens(model=MODEL, messages=QUESTION).input_tokens
    more = [{"role": "user", "content": [{"type": "text", "text": "Name one colour, and say why it is yours."}]}]
    longer = client.messages.count_tokens(model=MODEL, messages=more).input_tokens
    assert 0 < count < longer, (count, longer)
    usage = client.messages.create(model=MODEL, messages=QUESTION, max_tokens=1).usage
    assert usage.input_tokens + (usage.cache_read_input_tokens or 0) == count, (usage, count)


def eight_at_once_are_all_answered():
    async def ask_all():
        async with anthropic.AsyncAnthropic(**SETTINGS) as together:
            ask = together.messages.create
            return await asyncio.gather(*(ask(model=MODEL, messages=QUESTION, max_tokens=8) for _ in range(8)))

    answers = asyncio.run(ask_all())
    assert len(answers) == 8 and all(answer.content[0].text for answer in answers), answers


def a_bearer_token_does_as_well_as_a_key():
    with anthropic.Anthropic(**(SETTINGS | {"api_key": None, "auth_token": "unused"})) as bearer:
        assert bearer.messages.create(model=MODEL, messages=QUESTION, max_tokens=1).usage.output_tokens == 1


def an_unknown_model_is_refused_by_name():
    for ask in (
        lambda: client.messages.create(model=UNKNOWN, messages=QUESTION, max_tokens=8),
        lambda: client.messages.create(model=UNKNOWN, messages=QUESTION, max_tokens=8, stream=True),
        lambda: client.messages.count_tokens(model=UNKNOWN, messages=QUESTION),
    ):
        error = refusal(anthropic.NotFoundError, "not_found_error", ask)
        assert UNKNOWN in error.body["error"]["message"] and MODEL in error.body["error"]["message"], error.body


def a_bad_request_is_refused():
    for body in ({"messages": QUESTION, "max_tokens": 8}, {"model": MODEL, "messages": "not a list", "max_tokens": 8}):
        refusal(
            anthropic.BadRequestError,
            "invalid_request_error",
            lambda body=body: client.post("/v1/messages", body=body, cast_to=object),
        )


def refusal(kind, word, ask):
    """The error of that very kind with which the request is refused."""
    try:
        answer = ask()
    except anthropic.APIStatusError as error:
        assert type(error) is kind, f"{type(error).__name__}: {error}"
        assert error.body["type"] == "error" and error.body["error"]["type"] == word, error.body
        assert error.body["error"]["message"], error.body
        return error
    raise AssertionError(f"answered instead of refused: {answer}")


CHECKS = [
    models_are_listed,
    a_model_is_retrieved,
    a_message_is_answered,
    blocks_of_all_kinds_are_taken,
    a_message_streams,
    raw_events_are_in_order,
    a_stream_may_be_left_early,
    a_tool_is_called,
    tools_are_called_in_a_loop,
    a_json_schema_is_kept,
    tokens_are_counted,
    eight_at_once_are_all_answered,
    a_bearer_token_does_as_well_as_a_key,
    an_unknown_model_is_refused_by_name,
    a_bad_request_is_refused,
]
if CALLS:
    CHECKS = [blocks_of_all_kinds_are_taken, a_message_streams, a_tool_is_called, tools_are_called_in_a_loop]


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
    print(f"anthropic {anthropic.__version__} for Python: {len(CHECKS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
