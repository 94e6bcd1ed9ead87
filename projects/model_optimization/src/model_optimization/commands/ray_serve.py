"""`model-optimization ray-serve`: a variant behind Ray Serve on this machine, until Ctrl-C or SIGTERM."""

import signal
import threading
from contextlib import suppress

from model_optimization.config.ray_serve import RayServeConfig
from model_optimization.deployment.ray_serve import ray_serving


def run(config: RayServeConfig) -> None:
    """Start Ray, serve, and shut both down in order.

    Raises:
        UserError: Ray is not installed, or cannot serve the variant.
    """
    stop = threading.Event()
    print("starting Ray and the replicas", flush=True)
    with ray_serving(config) as address:
        signal.signal(signal.SIGTERM, lambda *_: stop.set())  # after Ray, which sets a handler that aborts
        print(f"POST texts to {address} (Ctrl-C stops it)", flush=True)
        with suppress(KeyboardInterrupt):
            stop.wait()
    print("stopped", flush=True)
