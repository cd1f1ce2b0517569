"""The flow `health`: probe, judge, report."""

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.core.receipt import FailOn, Receipt
from tasks.runs.health import run as runs
from tasks.stages.flow_run import record


@flow(name="health", persist_result=False)
def health(
    environment: str | None = None, output: str | None = None, fail_on: FailOn = "high"
) -> State[Receipt]:
    """Check endpoints, machine, training and pushed checks of an environment, once.

    It ends as Findings when the environment is unhealthy. The loop `fedvitals health watch` samples
    more often; both record what they see in the ledger.

    Args:
        environment: Environment of config/environments.yaml; empty: the default one.
        output: Folder for health-report.json; empty: reports/health/ENVIRONMENT in FEDVITALS_HOME.
        fail_on: Lowest severity that ends the run as Findings; never: none does.
    """
    request = runs.HealthRequest(output)
    return record("health", lambda run, step: runs.health(run, request, step), environment, fail_on)
