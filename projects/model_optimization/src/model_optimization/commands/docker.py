"""`model-optimization docker`: the files that bring a variant into containers."""

from model_optimization.config.docker import DockerConfig
from model_optimization.deployment.docker_deployment import image_name, write_deployment
from roadmap_shared.errors import UserError


def run(config: DockerConfig) -> None:
    """Write image, compose file and manifests, and say what to do with them.

    Raises:
        UserError: no variant is named, or the files cannot be made from it.
    """
    if config.variant is None:
        raise UserError("which variant? Name its folder with --variant DIR")
    folder = write_deployment(config.variant, config)
    size = sum(path.stat().st_size for path in (folder / "image").rglob("*") if path.is_file()) / 1e6
    print(f"{folder}: image {image_name(config.variant, config)} ({size:.0f} MB of build context), compose, Kubernetes")
    print(f"next: {folder / 'README.md'} says how to start them; keys and passwords come from the environment")
