"""The error tree: one root, and every leaf is Transient or Terminal, which alone decides a retry.

An error takes its facts as keyword arguments, keeps them as attributes, and builds its own message:
what went wrong, where, and what to do. No fact may hold a secret.
"""

import traceback
from functools import partial
from pathlib import Path
from typing import Any


def defect(error: Exception) -> str:
    """What is said of an error that nobody foresaw, where one item of many must not take the others
    down: its kind and place, and not its text, for nobody vouches that it holds no secret."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(last.filename).name}:{last.lineno}"
    return f"unexpected {type(error).__name__} at {where}. This is a defect of fedvitals"


def _in_sentence(fix: str) -> str:
    # a name such as PROMETHEUS_URL stays as it is
    return fix[:1].lower() + fix[1:] if fix[1:2].islower() else fix


class FedvitalsError(Exception):
    """Root of all errors that fedvitals raises on purpose. Survives pickling with its facts."""

    message = "{problem}"
    exit_code = 1

    def __init__(self, **facts: Any) -> None:
        self.facts = facts
        shown = {**facts, "fix": _in_sentence(facts["fix"])} if "fix" in facts else facts
        super().__init__(self.message.format(**shown))

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["facts"][name]
        except KeyError:
            raise AttributeError(name) from None

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), **self.facts), ()


class Transient(FedvitalsError):
    """The same request may succeed later: retry, then leave the work pending."""


class Terminal(FedvitalsError):
    """The same request will fail again: report it, never loop."""


class ConfigurationInvalid(Terminal):
    """A file or setting is wrong. Facts: where (file and key path, or variable), problem, fix."""

    message = "{where}: {problem}. Fix: {fix}"
    exit_code = 2


class NothingConfigured(ConfigurationInvalid):
    """A run lacks what it would work on, by the configuration alone. Facts: where, problem, fix."""


class PluginInvalid(ConfigurationInvalid):
    """What another package registers cannot be used. Facts: where, problem, fix."""


class UsageInvalid(Terminal):
    """An argument of a command or flow is wrong. Facts: argument, problem, fix."""

    message = "{argument}: {problem}. Fix: {fix}"
    exit_code = 2


class SuiteInvalid(Terminal):
    """A suite cannot be trusted as it is written. Facts: suite (file), problem, fix."""

    message = "suite {suite}: {problem}. Fix: {fix}"
    exit_code = 2


class SourceUnavailable(Transient):
    """A source did not answer properly this time. Facts: service, url, what, problem."""

    message = "{service} at {url} could not answer {what}: {problem}. Fix: check that it runs and is reachable; the next run tries again"


class SourceTimedOut(SourceUnavailable):
    """A source did not answer within its time. Facts: service, url, what, problem."""


class SourceOverloaded(Transient):
    """A source said that the question was too much. Facts: service, url, what, problem."""

    message = "{service} at {url} could not finish {what}: {problem}. Fix: use a smaller window or a cheaper query"


class SourceRefused(Terminal):
    """A source refused the question for good. Facts: service, url, what, status, problem, fix."""

    message = "{service} at {url} refused {what} (HTTP {status}): {problem}. Fix: {fix}"


class AnswerInvalid(Terminal):
    """A source answered something that is not its protocol. Facts: service, url, what, problem."""

    message = "{service} at {url} gave an answer to {what} that is not its protocol: {problem}. Fix: check the URL and any proxy in front of it"


class CertificateInvalid(Terminal):
    """A service's TLS certificate cannot be trusted. Facts: service, url, what, problem, fix."""

    message = "{service} at {url} was not asked for {what}: its certificate is not to be trusted: {problem}. Fix: {fix}"


class LabelsDiffer(Terminal):
    """A query's labels are not the measurement's tags. Facts: measurement, field, tags, labels."""

    message = (
        "{measurement}.{field}: the query answers with the labels {labels}, the catalogue says {tags}. "
        "Fix: aggregate the query by exactly these tags, or make it a measurement of its own"
    )


class KeyRepeated(Terminal):
    """Two series of one answer have the same tags. Facts: measurement, field, key."""

    message = "{measurement}.{field}: the query answers {key} more than once. Fix: aggregate it by exactly the measurement's tags"


class SeriesExceeded(Terminal):
    """A measurement has more series than it may. Facts: measurement, series, limit, label, distinct."""

    message = (
        "{measurement}: {series} series, max_series is {limit}; the label with the most values is "
        "{label} ({distinct}). Fix: aggregate it away in the query, or raise max_series in the catalogue"
    )


class SchemaChanged(Terminal):
    """A lake table does not fit the catalogue. Facts: table, problem."""

    message = (
        "lake table {table}: {problem}. Fix: undo the change in the catalogue, or make it in the lake too "
        "(first with --dry-run): fedvitals lake migrate {table}"
    )


class LakeBusy(Transient):
    """Another writer committed first. Facts: table, problem."""

    message = "lake table {table}: the commit met another writer: {problem}. It is tried again"


class LakeDamaged(Terminal):
    """A lake table cannot be read or written. Facts: table, problem."""

    message = (
        "lake table {table}: {problem}. Fix: run `fedvitals lake repair --dry-run` to list torn files; "
        "without --dry-run it is moved aside, and what is lost is read again"
    )


class MadeByNewer(Terminal):
    """A lake or ledger has a layout that is not known yet. Facts: what, version, known."""

    message = (
        "{what} was made by a newer fedvitals: it is of version {version}, this one knows "
        "{known}. Fix: install the newer fedvitals; nothing was touched"
    )
    exit_code = 2


class MigrationRefused(Terminal):
    """A table cannot be made to fit the catalogue. Facts: table, problem, fix."""

    message = "lake table {table} cannot be migrated: {problem}. Fix: {fix}"
    exit_code = 2


class LakeUnavailable(Transient):
    """The object store under the lake did not answer this time. Facts: table, problem."""

    message = (
        "lake table {table}: the object store did not answer: {problem}. Fix: check that it runs and is "
        "reachable; nothing was lost, the next run tries again"
    )


class LakeRefused(Terminal):
    """The object store under the lake refuses for good. Facts: table, problem, fix."""

    message = "lake table {table}: {problem}. Fix: {fix}"


class LedgerUnavailable(Transient):
    """The ledger did not answer. Facts: url, problem."""

    message = "ledger {url}: {problem}. Fix: check the database; nothing was lost, the next run tries again"


class LockHeld(Terminal):
    """Another run works on the same measurement. Facts: measurement, environment, holder."""

    message = "{measurement} in {environment} is locked by {holder}. Skipped in this run. Fix: retry when the other run finishes"


class LockLost(Terminal):
    """The lock of a measurement was lost while working. Facts: measurement, environment."""

    message = "{measurement} in {environment}: the lock was lost before the commit. Nothing was written. Fix: run again"


class WorkerLost(Transient):
    """A worker of a cluster ended in the middle of its work. Facts: problem."""

    message = (
        "a worker of the cluster was lost: {problem}. What it landed stays; the next run goes on. "
        "Fix: if it ran out of memory, give a shorter --chunk"
    )


class SinkUnavailable(Transient):
    """A sink did not take the data this time. Facts: sink, url, problem, retry_after (seconds or None)."""

    message = "{sink} at {url}: {problem}. The data stays pending; the next run loads it"


class SinkRefused(Terminal):
    """A sink refuses everything until something is fixed. Facts: sink, url, status, problem, fix."""

    message = "{sink} at {url} refused (HTTP {status}): {problem}. Fix: {fix}"


class ChannelUnavailable(Transient):
    """A channel did not take a message this time. Facts: channel, url, problem, retry_after (seconds or None)."""

    message = (
        "{channel} at {url}: {problem}. The message was not sent; the run is as good without it"
    )


class ChannelRefused(Terminal):
    """A channel refuses a message until something is fixed. Facts: channel, url, status, problem, fix."""

    message = "{channel} at {url} refused the message (HTTP {status}): {problem}. Fix: {fix}"


class SumsDiffer(Terminal):
    """A receipt's sums do not hold. Facts: what, left, right."""

    message = "the receipt does not add up: {what}: {left} is not {right}. This is a defect of fedvitals; the run counts as failed"


class ReportNotWritten(Terminal):
    """The report of a run could not be written. Facts: folder, problem."""

    message = (
        "the report could not be written to {folder}: {problem}. What was landed stays. "
        "Fix: make room, or name another folder"
    )


class QueryInvalid(Terminal):
    """A query on the lake is wrong. Facts: problem, fix."""

    message = "lake query: {problem}. Fix: {fix}"
    exit_code = 2


class RunFileInvalid(Terminal):
    """A file of a training run cannot be read as one. Facts: file, problem, fix."""

    message = "{file}: {problem}. Fix: {fix}"
    exit_code = 2
