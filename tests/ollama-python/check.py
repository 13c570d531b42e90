"""The official ollama package for Python against a running snug.

SNUG_BASE_URL         where it answers, such as http://127.0.0.1:8787
SNUG_MODEL            name of a chat model that it has, with its tag
SNUG_PULL             name of a model that it can get, and has not; for `management`

SNUG_PARTS            which parts to check, `management` and `inference`; both if it is not set

Prints one line per check; exits with 1 if any failed. Run it with ./run, which knows where the package is installed.
"""

import asyncio
import datetime
import json
import os
import sys
import traceback
import urllib.request

import ollama

BASE_URL = os.environ["SNUG_BASE_URL"].rstrip("/")
MODEL = os.environ["SNUG_MODEL"]
UNKNOWN = "no-such-model"
QUESTION = [{"role": "user", "content": "Name one colour."}]

# The first request may wait for a load.
client = ollama.Client(host=BASE_URL, timeout=300.0)


# ---- management: what is here, what runs, getting and deleting ----


def snug_greets_as_ollama_does():
    with urllib.request.urlopen(BASE_URL + "/") as answer:
        assert b"Ollama is running" in answer.read()
    with urllib.request.urlopen(BASE_URL + "/api/version") as answer:
        assert json.load(answer)["version"]


def models_are_listed():
    rows = client.list().models
    row = next((row for row in rows if row.model == MODEL), None)
    assert row, [row.model for row in rows]
    assert row.size > 0 and len(row.digest) == 64, row
    assert row.details.format == "gguf" and row.details.family and row.details.quantization_level, row.details
    assert row.modified_at.tzinfo, row


def a_model_is_shown():
    shown = client.show(MODEL)
    assert "completion" in shown.capabilities, shown.capabilities
    architecture = shown.modelinfo["general.architecture"]
    assert architecture == shown.details.family, shown.details
    assert shown.modelinfo[architecture + ".context_length"] > 0, shown.modelinfo
    assert shown.modelinfo["general.parameter_count"] > 0, shown.modelinfo


def names_may_say_latest():
    bare = MODEL.rsplit(":", 1)[0]
    assert client.show(bare + ":latest").modelinfo == client.show(MODEL).modelinfo


def an_unknown_model_is_not_shown():
    error = refusal(404, lambda: client.show(UNKNOWN))
    assert UNKNOWN in error.error, error


def what_is_loaded_is_told():
    load()
    row = next(row for row in client.ps().models if row.model == MODEL)
    assert row.expires_at > datetime.datetime.now(datetime.timezone.utc), row
    assert row.size > 0 and row.size_vram <= row.size and row.context_length > 0, row


def a_pull_tells_its_progress():
    name = os.environ["SNUG_PULL"]
    told = list(client.pull(name, stream=True))
    assert told[0].status == "pulling manifest" and told[-1].status == "success", told
    bytes_told = [one for one in told if one.total]
    assert bytes_told and all(one.completed <= one.total and one.digest for one in bytes_told), told
    assert client.show(name).details.format == "gguf"
    assert client.pull(name).status == "success", "it is here already"


def what_was_pulled_is_deleted():
    name = os.environ["SNUG_PULL"]
    assert client.delete(name).status == "success"
    refusal(404, lambda: client.show(name))
    refusal(404, lambda: client.delete(name))


def what_nobody_has_is_not_pulled():
    error = refusal(404, lambda: client.pull(UNKNOWN))
    assert "hf.co/" in error.error, error


def what_is_not_done_here_says_what_works():
    assert "snug.toml" in refusal(501, lambda: client.copy(MODEL, "other")).error
    assert "snug.toml" in refusal(501, lambda: client.create("mine", from_=MODEL)).error
    assert "hub" in refusal(501, lambda: client.push(MODEL)).error


# ---- inference ----


def chat_answers():
    answer = client.chat(MODEL, QUESTION, options={"num_predict": 16, "temperature": 0})
    assert answer.model == MODEL and answer.message.role == "assistant", answer
    assert answer.message.content.strip() and answer.done, answer
    assert answer.done_reason in ("stop", "length"), answer
    assert answer.prompt_eval_count > 0 and 0 < answer.eval_count <= 16, answer
    assert answer.eval_duration > 0 and answer.total_duration >= answer.eval_duration, answer


def chat_streams():
    pieces = list(client.chat(MODEL, QUESTION, stream=True, options={"num_predict": 16}))
    assert len(pieces) > 2 and "".join(piece.message.content for piece in pieces).strip(), pieces
    assert [piece.done for piece in pieces] == [False] * (len(pieces) - 1) + [True], pieces
    assert pieces[-1].done_reason in ("stop", "length") and pieces[-1].eval_count > 0, pieces[-1]


def a_stream_may_be_left_early():
    stream = client.chat(MODEL, QUESTION, stream=True, options={"num_predict": 512})
    next(stream)
    stream.close()
    chat_answers()


def tools_are_accepted():
    def weather(city: str) -> str:
        """The weather in a city.

        Args:
          city: its name
        """
        return "rain in " + city

    asked = [{"role": "user", "content": "What is the weather in Oslo?"}]
    answer = client.chat(MODEL, asked, tools=[weather], options={"num_predict": 48})
    # Whether so small a model calls the tool is its own affair; that it is answered in the right shape is ours.
    assert answer.message.content or answer.message.tool_calls, answer
    for call in answer.message.tool_calls or []:
        assert call.function.name == "weather" and isinstance(call.function.arguments, dict), call


def results_of_tools_are_read():
    call = {"function": {"name": "weather", "arguments": {"city": "Oslo"}}}
    said = [
        {"role": "user", "content": "What is the weather in Oslo?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_name": "weather", "content": "rain"},
    ]
    assert client.chat(MODEL, said, options={"num_predict": 16}).message.content.strip()


def a_json_schema_is_kept():
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "capital": {"type": "boolean"}},
        "required": ["city", "capital"],
        "additionalProperties": False,
    }
    asked = [{"role": "user", "content": "Describe Paris as JSON."}]
    answer = client.chat(MODEL, asked, format=schema, options={"num_predict": 64, "temperature": 0})
    assert list(json.loads(answer.message.content)) == ["city", "capital"], answer


def a_text_is_generated():
    answer = client.generate(MODEL, "Name one colour.", system="Be brief.", options={"num_predict": 8})
    assert answer.response.strip() and answer.done and answer.eval_count > 0, answer
    raw = client.generate(MODEL, "One, two, three,", raw=True, options={"num_predict": 8, "temperature": 0})
    assert raw.response.strip(), raw
    pieces = list(client.generate(MODEL, "Count.", stream=True, options={"num_predict": 8}))
    assert "".join(piece.response for piece in pieces).strip() and pieces[-1].done, pieces


def texts_are_embedded():
    answer = client.embed(MODEL, ["a cat", "a kitten", "a tax return"])
    assert len(answer.embeddings) == 3 and len({len(vector) for vector in answer.embeddings}) == 1, answer
    assert answer.embeddings[0] != answer.embeddings[2]
    short = client.embed(MODEL, "a cat", dimensions=16).embeddings
    assert [len(vector) for vector in short] == [16], short
    one = client.embeddings(MODEL, "a cat").embedding
    assert all(abs(a - b) < 1e-3 for a, b in zip(one, answer.embeddings[0], strict=True))


def a_model_is_kept_as_long_as_was_said():
    assert client.generate(MODEL, "", keep_alive="1h").done_reason == "load"
    row = next(row for row in client.ps().models if row.model == MODEL)
    left = row.expires_at - datetime.datetime.now(datetime.timezone.utc)
    assert datetime.timedelta(minutes=50) < left <= datetime.timedelta(hours=1), row
    assert client.generate(MODEL, "", keep_alive=0).done_reason == "unload"
    assert all(row.model != MODEL for row in client.ps().models), client.ps()


def what_cannot_be_is_refused():
    assert UNKNOWN in refusal(404, lambda: client.chat(UNKNOWN, QUESTION)).error
    assert "keep_alive" in refusal(400, lambda: client.chat(MODEL, QUESTION, keep_alive="soon")).error
    assert "template" in refusal(400, lambda: client.generate(MODEL, "x", template="{{ .Prompt }}")).error


def eight_at_once_are_all_answered():
    async def ask_all():
        together = ollama.AsyncClient(host=BASE_URL, timeout=300.0)
        ask = together.chat
        return await asyncio.gather(*(ask(MODEL, QUESTION, options={"num_predict": 8}) for _ in range(8)))

    answers = asyncio.run(ask_all())
    assert len(answers) == 8 and all(answer.message.content for answer in answers), answers


# ----


def load():
    """Has the model loaded by snug's own route."""
    request = urllib.request.Request(f"{BASE_URL}/api/models/{MODEL}/load", method="POST")
    with urllib.request.urlopen(request) as answer:
        answer.read()


def refusal(status, ask):
    try:
        answer = ask()
    except ollama.ResponseError as error:
        assert error.status_code == status, error
        assert isinstance(error.error, str) and error.error, error
        return error
    raise AssertionError(f"it was not refused: {answer}")


PARTS = {
    "management": [
        snug_greets_as_ollama_does,
        models_are_listed,
        a_model_is_shown,
        names_may_say_latest,
        an_unknown_model_is_not_shown,
        what_is_loaded_is_told,
        a_pull_tells_its_progress,
        what_was_pulled_is_deleted,
        what_nobody_has_is_not_pulled,
        what_is_not_done_here_says_what_works,
    ],
    "inference": [
        chat_answers,
        chat_streams,
        a_stream_may_be_left_early,
        tools_are_accepted,
        results_of_tools_are_read,
        a_json_schema_is_kept,
        a_text_is_generated,
        texts_are_embedded,
        what_cannot_be_is_refused,
        eight_at_once_are_all_answered,
        a_model_is_kept_as_long_as_was_said,
    ],
}


def main():
    failed = 0
    for part in os.environ.get("SNUG_PARTS", " ".join(PARTS)).split():
        for check in PARTS[part]:
            name = check.__name__.replace("_", " ")
            try:
                check()
                print("ok     ", name)
            except Exception:
                failed += 1
                print("FAILED ", name)
                traceback.print_exc()
    sys.exit(1 if failed else 0)


main()
