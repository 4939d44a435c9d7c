"""What the gateway counts, as Prometheus metrics in a registry of its own. Knows no request and no engine.

The `model` label only ever holds names that the gateway serves, or "unknown": callers must not be able to make series.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

UNKNOWN = "unknown"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# seconds; from one step of a small model to an answer of many thousand tokens
_WAITING = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_ANSWERING = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Telemetry:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"graft_{name}", text, labels, registry=self.registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"graft_{name}", text, labels, buckets=buckets, registry=self.registry)

        self.requests = counter("requests", "Answers begun, by route, model and HTTP status.", "route", "model", "status")
        self.tokens = counter("tokens", "Tokens as the engine counted them.", "model", "type")
        self.disconnects = counter("client_disconnects", "Callers who left before their answer ended.", "phase")
        self.broken = counter("broken_answers", "Answers the engine did not finish.", "model")
        self.retries = counter("retries", "Questions asked a second time, since their engine went away.", "model")
        self.restarts = counter("engine_restarts", "Engines started again after they ended by themselves.", "base")
        self.duration = histogram(
            "request_duration_seconds", "From the request's body to the answer's last byte.", _ANSWERING, "route", "model"
        )
        self.first_token = histogram(
            "time_to_first_token_seconds", "From the request's body to a stream's first event.", _WAITING, "model"
        )
        self.retrieval = histogram(
            "retrieval_seconds", "Choosing examples, and searching documents, for a question.", _WAITING, "step"
        )
        self.adapter_load = histogram("adapter_load_seconds", "Loading an adapter into an engine.", _WAITING, "base", "outcome")
        self.inflight = Gauge("graft_inflight", "Requests being answered.", ["model"], registry=self.registry)

    def text(self) -> bytes:
        """Everything counted, in Prometheus' text format."""
        return generate_latest(self.registry)
