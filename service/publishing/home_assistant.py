"""MQTT discovery of Home Assistant: an output that is told over MQTT appears there as a sensor by itself.

Format: Home Assistant's documentation, "MQTT", part "Discovery messages", and "MQTT Sensor".
"""

from __future__ import annotations

import hashlib
import json
import re
from importlib.metadata import version

from service.storage.records import Message

_LAST = "value_json.rows[-1]"
_NEWEST = f"{{{{ value_json.rows | selectattr('t_us', 'eq', {_LAST}.t_us) | list | length }}}}"
"""Rows of the newest time alone: a message may hold several windows."""
_STATES: dict[str, tuple[str, str | None]] = {
    "decisions": (f"{{{{ {_LAST}.label }}}}", None),
    "detections": (f"{{{{ {_LAST}.label }}}}", None),
    "triggers": (f"{{{{ {_LAST}.level }}}}", None),
    "motion": (f"{{{{ ({_LAST}.vx ** 2 + {_LAST}.vy ** 2) ** 0.5 }}}}", "px/ms"),
    "movers": (_NEWEST, "movers"),
    "field": (_NEWEST, "tiles"),
}
"""What the sensor shows of a message, by the output's kind, and its unit; the last row is in its attributes."""


def announcement(prefix: str, topic: str, message: Message) -> tuple[str, bytes] | None:
    """(topic, payload) that make an output known; to be retained. None of a stream without a name, whose sensors
    nobody would ever remove.

    Args:
        prefix: where Home Assistant looks, such as ``homeassistant``.
        topic: in front of the message's; ``TOPIC/status`` says whether we are there.
        message: of the output.
    """
    said = json.loads(message.body)
    if not said["name"]:
        return None
    state, unit = _STATES[said["kind"]]
    whole = f"{topic}/{message.topic}"
    stream = str(said["name"])
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
    """Of the characters that a discovery topic may have, and another one for every text."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", text)
    return f"{plain}_{hashlib.sha256(text.encode()).hexdigest()[:8]}"
