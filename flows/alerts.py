"""The flow `alerts`: incidents kept up to date and exported, and digests."""

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.core.receipt import FailOn, Receipt
from tasks.runs.alerts import run as runs
from tasks.runs.rules.backtest import learned_limits
from tasks.stages.flow_run import record


@flow(name="alerts", persist_result=False)
def alerts(
    environment: str | None = None,
    digest: str | None = None,
    review: bool = False,
    drill: str | None = None,
    fail_on: FailOn = "high",
) -> State[Receipt]:
    """Do what the intake does where none runs, export changes of incidents, send a digest.

    Messages never wait for it: the intake sends them, else the run that found something does.

    Args:
        environment: Environment of config/environments.yaml; empty: the default one. A digest is of
            all.
        digest: Its beginning, such as -24h; empty: none is sent.
        review: Whether the digest also looks at rules, SLOs, limits and silences.
        drill: Route of routes.yaml whose channels get a message marked TEST; empty: none.
        fail_on: Lowest severity that ends the run as Findings; never: none does.
    """
    request = runs.AlertsRequest(digest, review, drill)
    return record(
        "alerts",
        lambda run, step: runs.alerts(run, request, step, learned_limits),
        environment,
        fail_on,
    )
