"""What Prometheus is told: studies, trials, requests, streams, reports."""

from collections import Counter as Count
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from study.ledger import Ledger, StudyState
from study.records import Outcome

REQUEST_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)
REPORT_BUCKETS_S = (1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0)
OPEN = "open"
"""What trials without an outcome are counted as."""


class Meters:
    """The counters of one app, in a registry of their own."""

    def __init__(self, ledger: Ledger) -> None:
        """Begin at zero; studies and trials are counted in the ledger when they are asked for."""
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "trialwright_http_requests",
            "Requests that were answered.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.request_s = Histogram(
            "trialwright_http_request_seconds",
            "Time until the answer begins.",
            ["route"],
            buckets=REQUEST_BUCKETS_S,
            registry=self.registry,
        )
        self.watchers = Gauge("trialwright_watchers", "Streams that are open.", registry=self.registry)
        self.report_s = Histogram(
            "trialwright_report_seconds",
            "Time that a report took to write.",
            ["format"],
            buckets=REPORT_BUCKETS_S,
            registry=self.registry,
        )
        self.registry.register(_Studies(ledger))

    def render(self) -> bytes:
        """Everything in Prometheus's text format; reads the ledger."""
        return generate_latest(self.registry)


class _Studies(Collector):
    """Counts studies and trials in the ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Nothing beforehand: registering reads no ledger."""
        return ()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Studies by state, trials by outcome."""
        standings = self._ledger.standings()
        states = Count(one.state for one in standings)
        studies = GaugeMetricFamily("trialwright_studies", "Studies of the ledger.", labels=["state"])
        for state in StudyState:
            studies.add_metric([state.value], states[state])
        yield studies
        outcomes: Count[str] = Count()
        for tally in (tally for one in standings for tally in one.tallies):
            outcomes[tally.outcome or OPEN] += tally.number
        trials = GaugeMetricFamily("trialwright_trials", "Trials of the ledger.", labels=["outcome"])
        for name in (*(outcome.value for outcome in Outcome), OPEN):
            trials.add_metric([name], outcomes[name])
        yield trials
