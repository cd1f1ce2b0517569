"""The Prefect tasks of `maintain`, and how its flow run ends."""

from prefect import get_run_logger, runtime
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from tasks.core.maintained import Maintained
from tasks.core.settings import Settings
from tasks.run.staging import log_setup, stage
from tasks.upkeep import maintaining
from tasks.upkeep.maintaining import UpkeepPlan

# an artifact of more than 64 KB would lose its event
MOST_ROWS = 200


@stage("plan")
def plan(settings: Settings) -> UpkeepPlan:
    """Checks the whole configuration and says what will be kept up."""
    made = maintaining.make_upkeep_plan(settings)
    log_setup(settings, made.warnings)
    return made


@stage("maintain")
def maintain(plan: UpkeepPlan) -> Maintained:
    """Keeps every table and the ledger up."""
    maintained = maintaining.maintain(plan)
    of_tables = [problem for line in maintained.tables for problem in line.problems]
    for problem in (*of_tables, *maintained.ledger.problems, *maintained.reports.problems):
        get_run_logger().warning(problem)
    return maintained


@stage("tell")
def tell(maintained: Maintained) -> Maintained:
    """Puts what was done to each table beside the flow run in Prefect."""
    if runtime.flow_run.id is not None and maintained.tables:
        rows = [
            line.model_dump(mode="json", exclude={"problems"})
            for line in maintained.tables[:MOST_ROWS]
        ]
        create_table_artifact(rows, key="maintain-tables")
    return maintained


def final_state(maintained: Maintained) -> State[Maintained]:
    """Failed when a table is damaged, a Completed named Degraded when something was in another run's
    hands, else Completed."""
    left = [f"{line.name}: {line.state}" for line in maintained.tables if line.state != "done"]
    expired = sum(line.rows_expired + line.quarantine_expired for line in maintained.tables)
    message = "; ".join([f"{len(maintained.tables)} tables, {expired} rows expired", *left])
    if maintained.status == "degraded":
        return Failed(message=message, data=maintained)
    if maintained.status == "pending":
        return Completed(name="Degraded", message=message, data=maintained)
    return Completed(message=message, data=maintained)
