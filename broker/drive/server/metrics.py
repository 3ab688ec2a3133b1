"""Numbers for Prometheus: of requests, never of users or of what they have."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

TYPE = CONTENT_TYPE_LATEST

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Of one server."""

    def __init__(self, under_way: Callable[[], float]) -> None:
        self._registry = CollectorRegistry()
        labels = ("route", "status")
        self._requests = Counter("seccomp_drive_requests", "Requests answered", labels, registry=self._registry)
        self._seconds = Histogram(
            "seccomp_drive_request_seconds",
            "Time from a request's first line to its answer's end",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._received = Counter("seccomp_drive_received_bytes", "Bytes of bodies", registry=self._registry)
        self._sent = Counter("seccomp_drive_sent_bytes", "Bytes of answers' bodies", registry=self._registry)
        gauge = Gauge("seccomp_drive_requests_under_way", "Requests not answered yet", registry=self._registry)
        gauge.set_function(under_way)

    def answered(self, route: str, status: int, seconds: float, received: int, sent: int) -> None:
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        self._received.inc(received)
        self._sent.inc(sent)

    def text(self) -> bytes:
        return generate_latest(self._registry)
