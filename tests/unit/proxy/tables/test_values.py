"""Numbers and durations of protobuf."""

from __future__ import annotations

import pytest
from envoy.config.cluster.v3.outlier_detection_pb2 import OutlierDetection
from google.protobuf.duration_pb2 import Duration

from mesh.proxy.tables.nack import ConfigNack, Place
from mesh.proxy.tables.values import number, percent, positive_seconds, seconds

AT = Place("r")


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        pytest.param(Duration(), 0.0, id="nothing is 0"),
        pytest.param(Duration(seconds=2, nanos=500_000_000), 2.5, id="both parts count"),
    ],
)
def test_seconds(duration: Duration, expected: float) -> None:
    assert seconds(duration, AT) == expected


@pytest.mark.parametrize(
    "duration",
    [
        pytest.param(Duration(seconds=-1), id="below 0"),
        pytest.param(Duration(seconds=10**15), id="longer than a Duration may be"),
        pytest.param(Duration(nanos=2_000_000_000), id="two seconds of nanoseconds"),
    ],
)
def test_what_is_no_time(duration: Duration) -> None:
    with pytest.raises(ConfigNack):
        seconds(duration, AT)


def test_unset_is_the_default_and_zero_is_not() -> None:
    message = OutlierDetection()
    assert number(message, "consecutive_5xx", 5) == 5
    assert percent(message, "max_ejection_percent", 10, AT) == 10
    assert positive_seconds(message, "interval", 10.0, AT) == 10.0
    message.consecutive_5xx.value = 0
    message.interval.seconds = 0
    assert number(message, "consecutive_5xx", 5) == 0
    with pytest.raises(ConfigNack, match="interval: a time above 0 is right"):
        positive_seconds(message, "interval", 10.0, AT)


def test_percent_is_at_most_a_hundred() -> None:
    message = OutlierDetection()
    message.max_ejection_percent.value = 101
    with pytest.raises(ConfigNack, match="0 to 100 is right, found 101"):
        percent(message, "max_ejection_percent", 10, AT)
