"""`model-optimization ray-serve`: a variant behind Ray Serve on this machine, until Ctrl-C or SIGTERM."""

import signal
import threading

from model_optimization.config.ray_serve import RayServeConfig
from model_optimization.deployment.ray_serve import ray_serving


def run(config: RayServeConfig) -> None:
    """Start Ray, serve, and shut both down in order.

    Raises:
        UserError: Ray is not installed, or cannot serve the variant.
    """
    stop = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        print("starting Ray and the replicas", flush=True)
        with ray_serving(config) as address:
            print(f"POST texts to {address} (Ctrl-C stops it)", flush=True)
            try:
                stop.wait()
            except KeyboardInterrupt:
                print()
    finally:
        signal.signal(signal.SIGTERM, before)
    print("stopped", flush=True)
