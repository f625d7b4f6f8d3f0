"""The same application on many machines: a Ray Serve deployment, each of whose replicas holds the model in workers of its own.

serve run scorefield.server.ray:app run=digits replicas=8
"""

from typing import TYPE_CHECKING, Any

from ..errors import MissingPackageError, RangeError
from .limits import Limits

if TYPE_CHECKING:
    from ray.serve import Application

CONNECTIONS = 4  # for each place in line, so that the line of the replica and not Ray's decides who is refused


def deployment(
    run: str, *, replicas: int = 1, workers: int = 1, limits: Limits | None = None, token: str | None = None
) -> "Application":
    """``replicas`` of the application, for `ray.serve.run`: each takes ``workers`` processors, and one request goes to one replica.

    The run must lie at the same place on every machine (a model of the box does). An answer is a function of its request alone, so
    it does not matter which replica gives it. Raises: MissingPackageError without ray; RangeError for numbers below 1.
    """
    if replicas < 1 or workers < 1:
        raise RangeError(f"deployment(replicas={replicas}, workers={workers}): both must be at least 1.")
    try:
        from ray import serve
    except ImportError as error:
        raise MissingPackageError("deployment needs ray: pip install 'scorefield[serve,ray]'.") from error
    limits = Limits() if limits is None else limits

    def build() -> Any:
        from .app import application

        return application(run, limits=limits, workers=workers, token=token)

    @serve.deployment(
        name="scorefield",
        num_replicas=replicas,
        ray_actor_options={"num_cpus": workers},
        max_ongoing_requests=CONNECTIONS * limits.queue,
    )
    @serve.ingress(build)
    class Replica:
        """One application; Ray sends it requests."""

    replica: Any = Replica
    return replica.bind()


def app(arguments: dict[str, str]) -> "Application":
    """`deployment` from the words of ``serve run``: run=digits replicas=8 workers=1. Raises: as `deployment`."""
    known = {"run": str, "replicas": int, "workers": int}
    unknown = sorted(set(arguments) - set(known))
    if unknown or "run" not in arguments:
        raise RangeError(f"app({', '.join(arguments)}): run=… wanted, and replicas=… and workers=… if you like.")
    return deployment(**{key: known[key](value) for key, value in arguments.items()})  # type: ignore[arg-type]
