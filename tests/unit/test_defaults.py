"""A default that stands in two places is the same in both."""

from service.settings import Settings
from service.streams.request import StreamRequest


def test_a_request_and_the_settings_agree():
    for name in ("policy", "max_latency_ms", "max_stride"):
        setting = Settings.model_fields[f"stream_{name}"]
        assert StreamRequest.model_fields[name].default == setting.default, name
