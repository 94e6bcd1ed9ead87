"""Serving a language model: an OpenAI-compatible API, a WebSocket, a chat page.

    text-generation serve --backend.model runs/text_generation/latest/model

Any client of OpenAI's API talks to it:

    client = openai.OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="none")
    client.chat.completions.create(model="model", messages=[{"role": "user", "content": "Hello!"}], stream=True)

and gets JSON that fits a schema by `response_format`.

From the inside out: `scheduler` steps all answers of a local model in one batch and `kv_rows` moves their rows;
`engine` puts that, or a thread for each answer, behind one protocol; `service` and `admission` queue, limit and cancel;
`openai_api`, `websocket` and `chat.html` speak to clients; `guard` and `rate` refuse what must not get that far.

Not covered: TLS, several keys, and clients that open a connection and send nothing. Put a reverse proxy before it on a
public address. One process serves one model.

**Scale-out is an existing engine.** For many users of a large model let vLLM hold the model, with paged attention,
tensor parallelism and an API like this one:

    pip install vllm
    vllm serve Qwen/Qwen2.5-7B-Instruct --port 8001 --max-model-len 8192 --gpu-memory-utilization 0.9

and point any command of this project at it, `serve` included, which then adds its page, key and limits:

    text-generation serve --backend.kind openai --backend.base_url http://localhost:8001/v1 \\
        --backend.model Qwen/Qwen2.5-7B-Instruct --backend.batch_size 64
"""
