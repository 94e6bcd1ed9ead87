"""A variant as a Ray Serve application: scale-out by an engine that others run, in place of a server of one's own.

Ray brings what `fastapi_server` writes by hand: `@serve.batch` gathers waiting texts, a proxy spreads requests over
replicas, and an autoscaler starts replicas by the number of requests under way. It has no latency model: it waits its
`batch_wait_timeout_s` for every batch that is not full. Requests and refusals have the form of `fastapi_server`'s.
"""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

from model_optimization.config.ray_serve import RayServeConfig
from model_optimization.config.serving import LimitsConfig
from model_optimization.quantization.extras import imported, quiet
from model_optimization.types import Classifier
from model_optimization.variants import check_files, load_variant, read_info
from roadmap_shared.errors import UserError, one_line
from roadmap_shared.sockets import listen

ROUTE = "/v1/predict"


@contextmanager
def ray_serving(config: RayServeConfig) -> Iterator[str]:
    """Within it, a local Ray serves the variant. Gives the address to post to.

    Raises:
        UserError: Ray is not installed, the variant is missing or damaged, the port is taken, or no replica starts.
    """
    if config.variant is None:
        raise UserError("which variant? Name its folder with --variant DIR")
    read_info(config.variant)
    check_files(config.variant)  # here, where the message is seen, and not in a replica's log
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    ray, serve = imported("ray", "ray"), imported("ray.serve", "ray")
    with listen(config.host, config.port) as listener:  # Ray would share the port with whoever has it
        config = replace(config, port=listener.getsockname()[1])
    with quiet("ray", "ray.serve"), _started(ray, serve, config) as address:
        yield address


@contextmanager
def _started(ray: Any, serve: Any, config: RayServeConfig) -> Iterator[str]:
    ray.init(
        num_cpus=config.most_replicas * config.threads,
        include_dashboard=False,
        logging_level="ERROR",
        log_to_driver=False,
        object_store_memory=config.object_store_mb * 2**20,
    )
    try:
        serve.start(http_options={"host": config.host, "port": config.port}, logging_config={"log_level": "ERROR"})
        serve.run(application(serve, config), name="classifier", route_prefix=ROUTE)
        yield f"http://{config.host}:{config.port}{ROUTE}"
    except (RuntimeError, ray.exceptions.RayError) as error:
        raise UserError(f"Ray Serve cannot serve {config.variant}: {one_line(error)[:300]}") from error
    finally:
        # Ray tells here that it kills its own controller.
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            serve.shutdown()
            ray.shutdown()


_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # else it reports to its maker
    "RAY_SERVE_ENABLE_HA_PROXY": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
}


def application(serve: Any, config: RayServeConfig) -> Any:
    """The application as `serve.run` takes it, on a laptop as on a cluster; every node must see the variant's folder.

    Args:
        serve: the module `ray.serve`.
        config: what each replica serves, and how many there may be.
    """
    deployment = serve.deployment(
        replica_class(serve, config),
        name="variant",
        ray_actor_options={"num_cpus": config.threads},
        autoscaling_config={
            "min_replicas": config.replicas,
            "max_replicas": config.most_replicas,
            # Two batches under way for each replica: one is computed while the other gathers.
            "target_ongoing_requests": 2 * config.max_batch,
        },
        max_ongoing_requests=4 * config.max_batch,
        max_queued_requests=config.max_queue,
        graceful_shutdown_timeout_s=30,
    )
    assert config.variant is not None
    limits = LimitsConfig(max_texts=config.max_texts, max_characters=config.max_characters)
    return deployment.bind(str(config.variant.absolute()), config.threads, limits)


def replica_class(serve: Any, config: RayServeConfig) -> type:
    """The class of a replica. Made here, because its batches are declared by a decorator of Ray's."""

    class Replica:
        def __init__(self, folder: str, threads: int, limits: LimitsConfig) -> None:
            self._info = read_info(Path(folder))
            self._classifier = load_variant(Path(folder), threads=threads)
            self._limits = limits

        @serve.batch(max_batch_size=config.max_batch, batch_wait_timeout_s=config.max_wait_ms / 1000)
        async def _label(self, texts: list[str]) -> list[dict[str, Any]]:
            import asyncio

            # In a thread, so that requests are taken while a batch is computed; one batch at a time.
            return await asyncio.to_thread(predictions, self._classifier, texts)

        async def __call__(self, request: Any) -> Any:
            import asyncio

            from starlette.responses import JSONResponse

            from model_optimization.deployment.server_errors import ApiError
            from model_optimization.deployment.server_schemas import PredictRequest, read, texts_of

            try:
                body = await bounded_body(request, self._limits.max_body_bytes)
                texts = texts_of(read(PredictRequest, body), self._limits)
            except ApiError as error:
                return error.response()
            answers = await asyncio.gather(*(self._label(text) for text in texts))
            return JSONResponse({"model": self._info.name, "predictions": answers})

    return Replica


def predictions(classifier: Classifier, texts: list[str]) -> list[dict[str, Any]]:
    """Label and probabilities of texts that are computed as one batch."""
    from model_optimization.softmax import softmax

    answers = []
    for logits in classifier.logits(texts, batch_size=len(texts)):
        chances = dict(zip(classifier.labels, softmax(logits).tolist(), strict=True))
        label = max(chances, key=chances.__getitem__)
        rounded = {name: round(value, 6) for name, value in chances.items()}
        answers.append({"label": label, "probability": rounded[label], "probabilities": rounded})
    return answers


async def bounded_body(request: Any, most: int) -> bytes:
    """The body of a request, of which no more than `most` bytes are kept.

    Raises:
        ApiError: 413, there are more.
    """
    from model_optimization.deployment.server_errors import ApiError

    body = b""
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise ApiError(413, "body_too_large", f"the body has more than {most:,} bytes")
    return body
