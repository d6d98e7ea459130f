"""MQTT discovery of Home Assistant: an output that is told over MQTT appears there as a sensor by itself.

Format: Home Assistant's documentation, "MQTT", part "Discovery messages", and "MQTT Sensor".
"""

from __future__ import annotations

import json
import re
from importlib.metadata import version

from service.storage.records import Message

_LAST = "value_json.rows[-1]"
_STATES: dict[str, tuple[str, str | None]] = {
    "decisions": (f"{{{{ {_LAST}.label }}}}", None),
    "detections": (f"{{{{ {_LAST}.label }}}}", None),
    "triggers": (f"{{{{ {_LAST}.level }}}}", None),
    "motion": (f"{{{{ ({_LAST}.vx ** 2 + {_LAST}.vy ** 2) ** 0.5 }}}}", "px/ms"),
    "movers": ("{{ value_json.rows | length }}", "movers"),
    "field": ("{{ value_json.rows | length }}", "tiles"),
}
"""What the sensor shows of a message, by the output's kind, and its unit; the last row is in its attributes."""


def announcement(prefix: str, topic: str, message: Message) -> tuple[str, bytes]:
    """(topic, payload) that make an output known; to be retained.

    Args:
        prefix: where Home Assistant looks, such as ``homeassistant``.
        topic: in front of the message's; ``TOPIC/status`` says whether we are there.
        message: of the output.
    """
    said = json.loads(message.body)
    state, unit = _STATES[said["kind"]]
    whole = f"{topic}/{message.topic}"
    stream = str(said["name"] or said["stream"])
    document = {
        "name": said["output"], "unique_id": _name(f"polychrony/{whole}"),
        "state_topic": whole, "value_template": state,
        "json_attributes_topic": whole, "json_attributes_template": f"{{{{ {_LAST} | tojson }}}}",
        "availability_topic": f"{topic}/status", "payload_available": "online", "payload_not_available": "offline",
        "device": {
            "identifiers": [_name(f"polychrony/{topic}/{stream}")], "name": stream, "manufacturer": "Polychrony",
        },
        "origin": {"name": "Polychrony", "sw_version": version("polychrony")},
        **({} if unit is None else {"unit_of_measurement": unit}),
    }  # fmt: skip
    where = f"{prefix}/sensor/{_name(f'{topic}/{stream}')}/{_name(said['output'])}/config"
    return where, json.dumps(document).encode()


def _name(text: str) -> str:
    """Of the characters that a discovery topic may have."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", text)
