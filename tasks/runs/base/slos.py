"""The SLOs in force."""

from tasks.analysis.slo.slo_rules import require_selectors
from tasks.core.errors import NothingConfigured
from tasks.core.services import Environment, Service
from tasks.core.settings import Settings
from tasks.core.slos import FILE, Slo, read_slos


def require_prometheus(environment: Environment) -> Service:
    """Return the environment's Prometheus; raise NothingConfigured without one."""
    service = environment.services.get("prometheus")
    if service is None:
        raise NothingConfigured(
            where=environment.setting("prometheus_url"),
            problem="SLOs are judged by the samples of a Prometheus, and none is configured",
            fix="Set it",
        )
    return service


def slos_in_force(settings: Settings) -> tuple[Slo, ...]:
    """Read the SLOs; raise ConfigurationInvalid for what fits nothing that is configured."""
    path = settings.config_file(FILE)
    found = read_slos(path, settings.environments)
    require_selectors(found, path)
    return found
