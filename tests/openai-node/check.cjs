// The official openai package for Node.js against a running snug.
//
// SNUG_BASE_URL         where it answers, without /v1, such as http://127.0.0.1:8787
// SNUG_MODEL            id of a chat model it serves
// SNUG_EMBEDDING_MODEL  id of a model it embeds with (default: SNUG_MODEL)
//
// Prints one line per check; exits with 1 if any failed. Run it with ./run, which knows where the package is installed.
// CommonJS, since only `require` looks into NODE_PATH.

'use strict'

const assert = require('node:assert/strict')
const OpenAI = require('openai')
const { VERSION } = require('openai/version')

const model = required('SNUG_MODEL')
const embeddingModel = process.env.SNUG_EMBEDDING_MODEL || model
const unknown = 'no-such-model'
const messages = [{ role: 'user', content: 'Name one colour.' }]

const client = new OpenAI({
  baseURL: required('SNUG_BASE_URL').replace(/\/+$/, '') + '/v1',
  apiKey: 'unused',
  maxRetries: 0, // a retry by the client would hide an error of ours
  timeout: 300_000, // milliseconds; the first request may wait for a load
})

const checks = {
  'models are listed': async () => {
    const ids = []
    for await (const listed of client.models.list()) ids.push(listed.id)
    assert(ids.includes(model), `${ids}`)
  },

  'a model is retrieved': async () => {
    const found = await client.models.retrieve(model)
    assert.equal(found.id, model)
    assert.equal(found.object, 'model')
  },

  'an unknown model is not retrieved': async () => {
    const error = await refusal(OpenAI.NotFoundError, () => client.models.retrieve(unknown))
    assert.equal(error.code, 'model_not_found')
  },

  'chat answers': chatAnswers,

  'chat streams': async () => {
    const pieces = []
    let finishReason
    const asked = { model, messages, max_tokens: 16, stream: true }
    for await (const chunk of await client.chat.completions.create(asked)) {
      assert.equal(chunk.object, 'chat.completion.chunk')
      const choice = chunk.choices[0]
      if (choice?.delta.content) pieces.push(choice.delta.content)
      finishReason = choice?.finish_reason ?? finishReason
    }
    assert(pieces.length > 1 && pieces.join('').trim(), `${pieces}`)
    assert(['stop', 'length'].includes(finishReason), finishReason)
  },

  'a stream ends with its usage if asked': async () => {
    let last
    const asked = { model, messages, max_tokens: 8, stream: true, stream_options: { include_usage: true } }
    for await (const chunk of await client.chat.completions.create(asked)) last = chunk
    assert.deepEqual(last.choices, [])
    assert(last.usage.prompt_tokens > 0)
    assert(last.usage.completion_tokens > 0 && last.usage.completion_tokens <= 8)
  },

  'a stream may be left early': async () => {
    const stream = await client.chat.completions.create({ model, messages, max_tokens: 512, stream: true })
    for await (const _ of stream) break
    assert(stream.controller.signal.aborted)
    await chatAnswers()
  },

  'the streaming helper gathers the whole answer': async () => {
    const stream = client.chat.completions.stream({ model, messages, max_tokens: 16, temperature: 0 })
    const completion = await stream.finalChatCompletion()
    assert(completion.choices[0].message.content.trim())
  },

  'a JSON schema is kept': async () => {
    const schema = {
      type: 'object',
      properties: { city: { type: 'string', maxLength: 20 }, capital: { type: 'boolean' } },
      required: ['city', 'capital'],
      additionalProperties: false,
    }
    const answer = await client.chat.completions.parse({
      model,
      messages: [{ role: 'user', content: 'Describe Paris as JSON.' }],
      response_format: { type: 'json_schema', json_schema: { name: 'city', strict: true, schema } },
      max_tokens: 64,
      temperature: 0,
    })
    const described = JSON.parse(answer.choices[0].message.content)
    assert.deepEqual(Object.keys(described).sort(), ['capital', 'city'])
    assert.equal(typeof described.city, 'string')
    assert.equal(typeof described.capital, 'boolean')
  },

  'tools are accepted': async () => {
    const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] }
    const weather = { name: 'weather', description: 'The weather in a city', parameters }
    const answer = await client.chat.completions.create({
      model,
      messages: [{ role: 'user', content: 'What is the weather in Oslo?' }],
      tools: [{ type: 'function', function: weather }],
      max_tokens: 48,
    })
    const { content, tool_calls: calls = [] } = answer.choices[0].message
    // Whether so small a model calls the tool is its own affair; that it is answered in the right shape is ours.
    assert(content || calls.length > 0)
    for (const call of calls) {
      assert.equal(call.function.name, 'weather')
      JSON.parse(call.function.arguments)
    }
  },

  'a text is completed': async () => {
    const answer = await client.completions.create({ model, prompt: 'One, two, three,', max_tokens: 8, temperature: 0 })
    assert.equal(answer.object, 'text_completion')
    assert(answer.choices[0].text.trim())
  },

  'texts are embedded': async () => {
    // The package asks for base64 and decodes it itself.
    const answer = await client.embeddings.create({ model: embeddingModel, input: ['a cat', 'a tax return'] })
    const [cat, tax] = answer.data.map((row) => row.embedding)
    assert(cat.length > 1)
    assert.equal(cat.length, tax.length)
    assert.notDeepEqual(cat, tax)
    const again = await client.embeddings.create({ model: embeddingModel, input: 'a cat', encoding_format: 'float' })
    again.data[0].embedding.forEach((one, at) => assert(Math.abs(one - cat[at]) < 1e-3))
  },

  'eight at once are all answered': async () => {
    const ask = () => client.chat.completions.create({ model, messages, max_tokens: 8 })
    const answers = await Promise.all(Array.from({ length: 8 }, ask))
    for (const answer of answers) assert(answer.choices[0].message.content)
  },

  'a request id comes back': async () => {
    const asked = { model, messages, max_tokens: 1 }
    const headers = { 'x-request-id': 'from-the-client' }
    assert.equal((await client.chat.completions.create(asked, { headers }))._request_id, 'from-the-client')
    assert((await client.chat.completions.create(asked))._request_id)
  },

  'an unknown model is refused by name': async () => {
    for (const ask of [
      () => client.chat.completions.create({ model: unknown, messages }),
      () => client.chat.completions.create({ model: unknown, messages, stream: true }),
      () => client.completions.create({ model: unknown, prompt: 'One' }),
      () => client.embeddings.create({ model: unknown, input: 'one' }),
    ]) {
      const error = await refusal(OpenAI.NotFoundError, ask)
      assert.equal(error.code, 'model_not_found')
      assert(error.error.message.includes(unknown) && error.error.message.includes(model), error.error.message)
    }
  },

  'a request without model is refused': async () => {
    const error = await refusal(OpenAI.BadRequestError, () => client.post('/chat/completions', { body: { messages } }))
    assert.equal(error.code, 'missing_model')
    assert.equal(error.param, 'model')
  },

  'a request the engine cannot read is refused': async () => {
    const body = { model, messages: 'not a list' }
    const error = await refusal(OpenAI.BadRequestError, () => client.post('/chat/completions', { body }))
    assert(error.error.message)
  },

  'an unknown route is refused': async () => {
    const error = await refusal(OpenAI.NotFoundError, () => client.get('/no-such-route'))
    assert(error.error.message && error.type)
  },
}

async function chatAnswers() {
  const answer = await client.chat.completions.create({ model, messages, max_tokens: 16, temperature: 0 })
  assert.equal(answer.object, 'chat.completion')
  assert.equal(answer.choices[0].message.role, 'assistant')
  assert(answer.choices[0].message.content.trim())
  assert(['stop', 'length'].includes(answer.choices[0].finish_reason))
  assert(answer.usage.prompt_tokens > 0)
  assert(answer.usage.completion_tokens > 0 && answer.usage.completion_tokens <= 16)
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens)
}

/** The error of that very kind with which the request is refused. */
async function refusal(kind, ask) {
  const answer = await ask().catch((error) => {
    assert.equal(error.constructor, kind, `${error.constructor.name}: ${error.message}`)
    return error
  })
  assert(answer instanceof OpenAI.APIError, 'answered instead of refused')
  return answer
}

function required(name) {
  const value = process.env[name]
  if (!value) throw new Error(`${name} is not set`)
  return value
}

async function main() {
  let failed = 0
  for (const [name, check] of Object.entries(checks)) {
    try {
      await check()
      console.log(`ok      ${name}`)
    } catch (error) {
      failed += 1
      console.log(`FAILED  ${name}`)
      console.error(error)
    }
  }
  console.log(`openai ${VERSION} for Node.js: ${Object.keys(checks).length - failed} passed, ${failed} failed`)
  process.exitCode = failed ? 1 : 0
}

main()
