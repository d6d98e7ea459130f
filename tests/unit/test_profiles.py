"""``profile: edge``."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from service import profiles
from service.host import limits
from service.settings import MIB, Settings
from service.streams.request import StreamRequest

ROOT = Path(__file__).parents[2]


def test_the_profile_changes_defaults_and_nothing_that_was_said(monkeypatch, tmp_path):
    monkeypatch.setenv("POLYCHRONY_PROFILE", "edge")
    monkeypatch.setenv("POLYCHRONY_MEMORY_BYTES", str(1024 * MIB))
    monkeypatch.setenv("POLYCHRONY_MAX_STREAMS", "3")
    settings = Settings(window_bytes=2 * MIB)
    assert settings.stream_policy == "realtime"
    assert settings.stream_max_stride == 16
    assert (settings.max_streams, settings.window_bytes) == (3, 2 * MIB)
    assert settings.retention_bytes < Settings.model_fields["retention_bytes"].default


def test_the_file_is_stronger_than_the_profile(monkeypatch, tmp_path):
    file = tmp_path / "p.toml"
    file.write_text('profile = "edge"\nstream_policy = "lossless"\n')
    monkeypatch.setenv("POLYCHRONY_CONFIG", str(file))
    settings = Settings()
    assert (settings.profile, settings.stream_policy, settings.stream_max_latency_ms) == (
        "edge",
        "lossless",
        100,
    )


@pytest.mark.parametrize("mib", [288, 384, 512, 768, 1024, 4096])
def test_what_waits_fits_into_the_memory(mib):
    found = profiles.edge(mib * MIB, 2)
    Settings(**found)  # all allowed
    # Twice the window may wait: what the gate let in, and what the thread has taken.
    assert found["max_streams"] * 2 * found["window_bytes"] <= mib * MIB / 4
    assert found["memory_bytes"] == mib * MIB


def test_a_wrong_budget_is_said(monkeypatch):
    monkeypatch.setenv("POLYCHRONY_PROFILE", "edge")
    monkeypatch.setenv("POLYCHRONY_MEMORY_BYTES", "much")
    with pytest.raises(ValidationError, match="memory_bytes"):
        Settings()


def test_a_stream_takes_from_the_settings_what_it_does_not_say():
    settings = Settings(profile="edge", memory_bytes=512 * MIB, cores=1)
    left = StreamRequest(pipeline="denoise").resolved(settings)
    assert (left.policy, left.max_latency_ms, left.max_stride) == ("realtime", 100, 16)
    said = StreamRequest(pipeline="denoise", policy="lossless", max_stride=1).resolved(settings)
    assert (said.policy, said.max_stride) == ("lossless", 1)


def test_limits_of_the_container_are_seen(monkeypatch, tmp_path):
    monkeypatch.setattr(limits, "_CGROUP", tmp_path)
    assert limits.memory_bytes() > 512 * MIB
    (tmp_path / "memory.max").write_text(f"{512 * MIB}\n")
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert limits.memory_bytes() == 512 * MIB
    assert limits.cores() == 2
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert limits.memory_bytes() > 512 * MIB
    assert limits.cores() >= 1


def test_config_says_what_the_profile_set(monkeypatch):
    def shown(*more):
        command = [sys.executable, "-m", "service", "config", *more]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    monkeypatch.setenv("POLYCHRONY_PROFILE", "edge")
    monkeypatch.setenv("POLYCHRONY_PUBLISH", json.dumps([{"name": "hub", "to": "mqtt://hub/cam"}]))
    found = json.loads(shown("--json"))
    assert found["stream_policy"]["from"] == "profile edge"
    assert found["profile"]["from"] == "POLYCHRONY_PROFILE"
    assert found["port"]["from"] == "default"
    import tomllib

    read = tomllib.loads(shown())
    assert read["publish"][0]["to"] == "mqtt://hub/cam"
    assert Settings(**read).publish[0].name == "hub"


def test_what_an_image_brings_along_is_weaker_than_the_file(monkeypatch, tmp_path):
    path = tmp_path / "polychrony.toml"
    monkeypatch.setenv("POLYCHRONY_CONFIG", str(path))
    monkeypatch.setenv("POLYCHRONY_DEFAULT_PROFILE", "edge")
    monkeypatch.setenv("POLYCHRONY_DEFAULT_PORT", "9000")
    assert (Settings().profile, Settings().stream_policy, Settings().port) == ("edge", "realtime", 9000)
    path.write_text('profile = "standard"\nport = 9001\nallowed_hosts = ["cam.local"]\n')
    assert (Settings().profile, Settings().stream_policy, Settings().port) == ("standard", "lossless", 9001)
    monkeypatch.setenv("POLYCHRONY_PORT", "9002")
    assert (Settings().port, Settings().allowed_hosts) == (9002, ("cam.local",))
    monkeypatch.delenv("POLYCHRONY_PORT")
    command = [sys.executable, "-m", "service", "config", "--json"]
    shown = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert shown["port"]["from"] == str(path)
    path.unlink()
    shown = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert (shown["port"]["from"], shown["stream_policy"]["from"]) == (
        "POLYCHRONY_DEFAULT_PORT",
        "profile edge",
    )
    assert shown["data_dir"]["from"] == "default"
    monkeypatch.setenv("POLYCHRONY_DEFAULT_INTERNAL_HOSTS", "a,b")
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (refused.returncode, "POLYCHRONY_DEFAULT_INTERNAL_HOSTS" in refused.stderr) == (1, True), (
        refused.stderr
    )
    monkeypatch.delenv("POLYCHRONY_DEFAULT_INTERNAL_HOSTS")
    path.write_text('port = "none"\n')
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert f"{path}: port" in refused.stderr, "the file is what counts, and what is wrong"
    path.unlink()
    monkeypatch.setenv("POLYCHRONY_DEFAULT_PORT", "no port")
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (refused.returncode, "POLYCHRONY_DEFAULT_PORT" in refused.stderr) == (1, True)


def test_compose_and_units_set_nothing_that_the_file_cannot_change():
    """But for what holds the container together."""
    compose = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]["polychrony"][
        "environment"
    ]
    assert {name for name, value in compose.items() if value and "_DEFAULT_" not in name} == {
        "POLYCHRONY_INTERNAL_HOSTS"
    }
    for unit in ("polychrony.container", "polychrony.service"):
        assert "POLYCHRONY_PROFILE" not in (ROOT / "docker" / unit).read_text()
