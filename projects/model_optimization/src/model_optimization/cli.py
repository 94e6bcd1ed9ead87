"""The command `model-optimization`. Nothing heavy is imported here."""

from collections.abc import Sequence
from importlib.resources import files

from roadmap_shared.cli import Command, run_cli

CONFIGS = files("model_optimization") / "configs"
COMMANDS = [
    Command(
        name="run",
        summary="Make small and fast variants of a classifier, measure all of them, report what each saves and costs.",
        config_class="model_optimization.config.run:OptimizationConfig",
        function="model_optimization.run:run",
        default_config="default",
    ),
    Command(
        name="export",
        summary="Export a classifier to ONNX, checked against torch.",
        config_class="model_optimization.config.export:ExportCommandConfig",
        function="model_optimization.commands.export:run",
        default_config=None,
    ),
    Command(
        name="prune",
        summary="Cut neurons, heads or layers out of a classifier, and train what is left.",
        config_class="model_optimization.config.pruning:PruneConfig",
        function="model_optimization.commands.prune:run",
        default_config=None,
    ),
    Command(
        name="distil",
        summary="Teach a small student what a classifier answers, with controls that show whether that helped.",
        config_class="model_optimization.config.distil:DistilConfig",
        function="model_optimization.commands.distil:run",
        default_config=None,
    ),
    Command(
        name="sensitivity",
        summary="Map what int8 or pruning does to each matrix, and choose those that stay in fp32.",
        config_class="model_optimization.config.sensitivity:SensitivityCommandConfig",
        function="model_optimization.commands.sensitivity:run",
        default_config=None,
    ),
    Command(
        name="measure",
        summary="Measure speed, memory and size of any variants side by side, and say why.",
        config_class="model_optimization.config.benchmark:MeasureConfig",
        function="model_optimization.commands.measure:run",
        default_config=None,
    ),
    Command(
        name="predict",
        summary="Label texts or a file with a variant.",
        config_class="model_optimization.config.serving:PredictConfig",
        function="model_optimization.commands.predict:run",
        default_config=None,
    ),
    Command(
        name="serve",
        summary="Serve a variant or a registry's champion over HTTP.",
        config_class="model_optimization.config.serving:ServeCommandConfig",
        function="model_optimization.commands.serve:run",
        default_config=None,
    ),
    Command(
        name="registry",
        summary="List, register, promote and roll back the versions that a server answers with.",
        config_class="model_optimization.config.serving:RegistryConfig",
        function="model_optimization.commands.registry:run",
        default_config=None,
    ),
    Command(
        name="ray-serve",
        summary="Serve a variant as an application of Ray Serve.",
        config_class="model_optimization.config.ray_serve:RayServeConfig",
        function="model_optimization.commands.ray_serve:run",
        default_config=None,
    ),
    Command(
        name="docker",
        summary="Write the Dockerfile, compose file, dashboards and Kubernetes manifests of a variant's server.",
        config_class="model_optimization.config.docker:DockerConfig",
        function="model_optimization.commands.docker:run",
        default_config=None,
    ),
    Command(
        name="drift",
        summary="Compare the answers in a prediction log with a reference, and say what drifted.",
        config_class="model_optimization.config.monitoring:DriftCommandConfig",
        function="model_optimization.commands.drift:run",
        default_config=None,
    ),
    Command(
        name="drill",
        summary="Inject known drift into a stream of texts, and score the detectors.",
        config_class="model_optimization.config.drill:DrillConfig",
        function="model_optimization.commands.drill:run",
        default_config=None,
    ),
]


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the installed command; returns the exit code. Without `argv`, the arguments of the process."""
    return run_cli(
        prog="model-optimization",
        description="Make a Transformer small and fast, prove what it cost, deploy and watch it.",
        commands=COMMANDS,
        configs=CONFIGS,
        argv=argv,
    )
