"""The error tree: every leaf is Transient or Terminal, which decides on a retry.

An error takes its facts as keyword arguments, keeps them as attributes, and builds its message:
what failed, where, why, and the fix. No fact may hold a secret.
"""

import traceback
from functools import partial
from pathlib import Path
from typing import Any

from tasks.core.outside import LONGEST_QUOTE, shown


def defect(error: Exception) -> str:
    """Describe an unforeseen error by kind and place; its text may hold a secret."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(last.filename).name}:{last.lineno}"
    return f"unexpected {type(error).__name__} at {where}. This is a defect of fedvitals"


def _in_sentence(fix: str) -> str:
    # only a word: a name such as PROMETHEUS_URL keeps its case
    return fix[:1].lower() + fix[1:] if fix[1:2].islower() else fix


class FedvitalsError(Exception):
    """Root of fedvitals's own errors; keeps its facts when pickled."""

    message = "{problem}"
    exit_code = 1
    longest = LONGEST_QUOTE  # of a fact: it may quote what comes from outside

    def __init__(self, **facts: Any) -> None:
        self.facts = {name: shown(value, self.longest) for name, value in facts.items()}
        fix = {"fix": _in_sentence(self.facts["fix"])} if "fix" in facts else {}
        super().__init__(self.message.format(**{**self.facts, **fix}))

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
    """A file or setting is wrong. Facts: where (file and key), problem, fix."""

    message = "{where}: {problem}. Fix: {fix}"
    exit_code = 2
    longest = 5000  # it quotes the user's own files, and lists all that is wrong there


class NothingConfigured(ConfigurationInvalid):
    """The configuration leaves a run without work. Facts: where, problem, fix."""


class PluginInvalid(ConfigurationInvalid):
    """What another package registers cannot be used. Facts: where, problem, fix."""


class UsageInvalid(Terminal):
    """An argument of a command or flow is wrong. Facts: argument, problem, fix."""

    message = "{argument}: {problem}. Fix: {fix}"
    exit_code = 2


class SuiteInvalid(Terminal):
    """A suite is invalid. Facts: suite (file), problem, fix."""

    message = "suite {suite}: {problem}. Fix: {fix}"
    exit_code = 2


class SourceUnavailable(Transient):
    """A source did not answer properly this time. Facts: service, url, what, problem."""

    message = "{service} at {url} could not answer {what}: {problem}. Fix: check that it runs and is reachable; the next run tries again"


class SourceTimedOut(SourceUnavailable):
    """A source did not answer within its time. Facts: service, url, what, problem."""


class SourceOverloaded(Transient):
    """A source could not handle a large query. Facts: service, url, what, problem."""

    message = "{service} at {url} could not finish {what}: {problem}. Fix: use a smaller window or a cheaper query"


class SourceRefused(Terminal):
    """A source refuses a query. Facts: service, url, what, status, problem, fix."""

    message = "{service} at {url} refused {what} (HTTP {status}): {problem}. Fix: {fix}"


class AnswerInvalid(Terminal):
    """A source violated its protocol. Facts: service, url, what, problem."""

    message = "{service} at {url} gave an invalid answer to {what}: {problem}. Fix: check the URL and any proxy in front of it"


class AnswerTooLarge(AnswerInvalid):
    """An answer is larger than it may be. Facts: service, url, what, problem."""


class CertificateInvalid(Terminal):
    """A certificate is not trusted. Facts: service, url, what, problem, fix."""

    message = "{service} at {url}: certificate not trusted ({problem}), so {what} was not requested. Fix: {fix}"


class LabelsDiffer(Terminal):
    """A query's labels are not the tags. Facts: measurement, field, tags, labels."""

    message = (
        "{measurement}.{field}: the query returns the labels {labels}, the catalogue has {tags}. "
        "Fix: aggregate the query by the tags, or move the field to a measurement with these labels as tags"
    )


class KeyRepeated(Terminal):
    """Two series of one answer have the same tags. Facts: measurement, field, key."""

    message = "{measurement}.{field}: the query returns {key} more than once. Fix: aggregate it by exactly the measurement's tags"


class SeriesExceeded(Terminal):
    """There are too many series. Facts: measurement, series, start, stop, limit, label, distinct."""

    message = (
        "{measurement}: {series} series from {start} to {stop}, max_series is {limit}; the label with "
        "the most values is {label} ({distinct}). Fix: aggregate it away in the query, or raise max_series in the catalogue"
    )


class SchemaChanged(Terminal):
    """A lake table does not fit the catalogue. Facts: table, problem."""

    message = (
        "lake table {table}: {problem}. Fix: undo the change in the catalogue, or make it in the lake too "
        "(first with --dry-run): fedvitals lake migrate {table}"
    )


class LakeBusy(Transient):
    """Another writer committed first. Facts: table, problem."""

    message = (
        "lake table {table}: the commit conflicted with another writer: {problem}. It is retried"
    )


class LakeDamaged(Terminal):
    """A lake table cannot be read or written. Facts: table, problem."""

    message = (
        "lake table {table}: {problem}. Fix: run `fedvitals lake repair --dry-run` to list what is damaged, "
        "then without --dry-run: corrupt files are moved aside, and the next runs read their data again"
    )


class LakeDiffers(Terminal):
    """The lake is not the ledger's. Facts: url, found (its id, or None), known."""

    message = (
        "lake {url}: its id is {found}, the ledger's lake has the id {known}, so nothing was written. "
        "Fix: set FEDVITALS_LAKE_URL to the ledger's lake. Only if that is lost for good, and this place is "
        "meant to take its part: `fedvitals lake repair --dry-run`. To continue with this lake and what it has: `fedvitals ledger rebuild`"
    )


class MadeByNewer(Terminal):
    """A lake or ledger has an unknown, newer layout. Facts: what, version, known."""

    message = (
        "{what} was made by a newer fedvitals: it has version {version}, this one supports "
        "{known}. Fix: install the newer fedvitals; nothing was changed"
    )
    exit_code = 2


class MigrationRefused(Terminal):
    """A table cannot be migrated to the catalogue. Facts: table, problem, fix."""

    message = "lake table {table} cannot be migrated: {problem}. Fix: {fix}"
    exit_code = 2


class LakeUnavailable(Transient):
    """The lake's object store did not answer this time. Facts: table, problem."""

    message = (
        "lake table {table}: the object store did not answer: {problem}. Fix: check that it runs and is "
        "reachable; nothing was lost, the next run tries again"
    )


class LakeRefused(Terminal):
    """The lake's object store refuses for good. Facts: table, problem, fix."""

    message = "lake table {table}: {problem}. Fix: {fix}"


class DiskFull(Terminal):
    """A disk has no space for a run's files. Facts: folder, free."""

    message = "the disk is full: {folder} has {free} free. Fix: free space; nothing was lost, the next run continues"


class LedgerUnavailable(Transient):
    """The ledger did not answer. Facts: url, problem."""

    message = "ledger {url}: {problem}. Fix: check the database; nothing was lost, the next run tries again"


class LedgerAway(LedgerUnavailable):
    """The ledger's server did not answer within the patience of a run. Facts: url, problem."""


class LockHeld(Terminal):
    """Another run holds the lock. Facts: measurement, environment, holder."""

    message = "{measurement} in {environment} is locked by {holder}. Skipped in this run. Fix: retry when the other run finishes"


class LockLost(Terminal):
    """A measurement's lock was lost. Facts: measurement, environment."""

    message = "{measurement} in {environment}: the lock was lost before the commit. Nothing was written. Fix: run again"


class WorkerLost(Transient):
    """A cluster worker died during its work. Facts: problem."""

    message = (
        "a worker of the cluster died: {problem}. Data it landed stays; the next run continues. "
        "Fix: if it ran out of memory, give a shorter --chunk"
    )


class SinkUnavailable(Transient):
    """A sink took no data this time. Facts: sink, url, problem, retry_after (seconds)."""

    message = "{sink} at {url}: {problem}. The data stays pending; the next run loads it"


class SinkRefused(Terminal):
    """A sink refuses all data. Facts: sink, url, status, problem, fix."""

    message = "{sink} at {url} refused (HTTP {status}): {problem}. Fix: {fix}"


class TooManySeries(Terminal):
    """A sink would be sent more series than it may. Facts: sink, series, limit."""

    message = "{sink} would be sent {series} series (max_series {limit}), which cost. Fix: send less, or raise {sink}.max_series in sinks.yaml"


class ChannelUnavailable(Transient):
    """A channel took no message. Facts: channel, url, problem, retry_after (seconds)."""

    message = (
        "{channel} at {url}: {problem}. The message was not sent; the run itself is not affected"
    )


class ChannelRefused(Terminal):
    """A channel refuses a message. Facts: channel, url, status, problem, fix."""

    message = "{channel} at {url} refused the message (HTTP {status}): {problem}. Fix: {fix}"


class SumsDiffer(Terminal):
    """A receipt's sums do not hold. Facts: what, left, right."""

    message = "the receipt does not add up: {what}: {left} is not {right}. This is a defect of fedvitals; the run counts as failed"


class ReportNotWritten(Terminal):
    """The report of a run could not be written. Facts: folder, problem."""

    message = (
        "the report could not be written to {folder}: {problem}. Landed data stays. "
        "Fix: free space, or name another folder"
    )


class QueryInvalid(Terminal):
    """A lake query is invalid. Facts: problem, fix."""

    message = "lake query: {problem}. Fix: {fix}"
    exit_code = 2


class RunFileInvalid(Terminal):
    """A file of a training run cannot be read. Facts: file, problem, fix."""

    longest = 1000  # its fix may be a line of Python with two paths
    message = "{file}: {problem}. Fix: {fix}"
    exit_code = 2


class RulesRefused(Terminal):
    """Rules are not accepted; Prometheus keeps its own. Facts: path, problem, fix."""

    longest = 2000  # it quotes promtool
    message = "rules {path}: {problem}. Prometheus runs what it ran before. Fix: {fix}"
