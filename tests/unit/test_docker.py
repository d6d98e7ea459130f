"""The image and what runs it: files that fit each other and the code."""

import json
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest
import yaml

from service.host import shipped_kernels
from service.settings import Settings

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
LOCKS = ("build", "full", "slim")


def named(text):
    """The settings that environment variables in a text name."""
    return {name.lower() for name in re.findall(r"POLYCHRONY_(?:DEFAULT_)?([A-Z_]+)(?=[=:])", text)}


def pinned(lock):
    return dict(re.findall(r"^([\w.-]+)==(\S+)", (DOCKER / f"{lock}.lock").read_text(), re.MULTILINE))


def test_hadolint_has_nothing_to_say():
    program = Path(sysconfig.get_path("scripts")) / "hadolint"
    ran = subprocess.run([program, DOCKER / "Dockerfile"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout == ""


@pytest.mark.parametrize("name", ["Dockerfile", "compose.yaml", "polychrony.service", "polychrony.container"])
def test_only_settings_that_exist_are_set(name):
    known = set(Settings.model_fields) | {"config", "kernels", "token", "image"}
    assert named((DOCKER / name).read_text()) <= known


def test_the_image_takes_nothing_from_elsewhere_and_is_not_root():
    images = re.findall(r"^FROM (?:--platform=\S+ )?(\S+)", DOCKERFILE, re.MULTILINE)
    stages = set(re.findall(r" AS (\w+)$", DOCKERFILE, re.MULTILINE))
    assert set(images) - stages == {"python:3.11-slim-bookworm"}
    assert set(re.findall(r"--from=(\w+)", DOCKERFILE)) <= stages
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER 10001:10001$", last, re.MULTILINE)
    assert re.findall(r"^VOLUME (.*)$", last, re.MULTILINE) == ["/data"]
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f'image.version="{version}"' in last
    assert f"{shipped_kernels.SHIPPED}=/opt/polychrony/kernels" in last


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_of_the_image_carry_hashes_and_no_address(lock):
    text = (DOCKER / f"{lock}.lock").read_text()
    assert "://" not in text
    assert text.count("--hash=sha256:") >= len(pinned(lock)) > 3


def test_the_image_has_what_the_checkout_has():
    checkout = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    for lock in ("full", "slim"):
        for name, version in pinned(lock).items():
            assert checkout.get(name, version) == version, name
    assert set(pinned("slim")) < set(pinned("full"))
    wanted = {
        re.split(r"[>=<]", line)[0]
        for line in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    }
    slim = {line for line in (DOCKER / "slim.in").read_text().split("\n") if line and line[0] != "#"}
    assert wanted - slim == {"pyarrow", "onnx"}
    assert slim - wanted == {"aiomqtt", "neuromorphic-drivers"}
    assert wanted <= set(pinned("full"))
    assert {"aiomqtt", "neuromorphic-drivers"} <= set(pinned("full"))


def test_compose_mounts_what_is_there_and_hardens_every_service():
    for name, service in COMPOSE["services"].items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert "privileged" not in service
        for mount in service.get("volumes", []):
            source = mount.partition(":")[0]
            if source == "/dev/bus/usb":
                continue
            assert (DOCKER / source).exists() if source.startswith(".") else source in COMPOSE["volumes"], (
                mount
            )
        for after in service.get("depends_on", {}):
            assert after in COMPOSE["services"]
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), "reachable from this machine alone, unless somebody says so"
        if name != "tokens":
            assert {"memory", "cpus"} <= set(service["deploy"]["resources"]["limits"])
    service = COMPOSE["services"]["polychrony"]
    assert service["tmpfs"]
    assert int(service["stop_grace_period"].rstrip("s")) > Settings().drain_s + 2


def test_prometheus_asks_the_service_by_a_name_that_it_knows():
    scrape = yaml.safe_load((DOCKER / "prometheus.yml").read_text())["scrape_configs"][0]
    host = scrape["static_configs"][0]["targets"][0].partition(":")[0]
    assert host in json.loads(COMPOSE["services"]["polychrony"]["environment"]["POLYCHRONY_INTERNAL_HOSTS"])
    dashboards = yaml.safe_load(
        (DOCKER / "grafana" / "provisioning" / "dashboards" / "polychrony.yaml").read_text()
    )
    mounted = [mount.split(":")[1] for mount in COMPOSE["services"]["grafana"]["volumes"]]
    folder = dashboards["providers"][0]["options"]["path"]
    assert any(path.startswith(f"{folder}/") for path in mounted)


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here")
    unit = (DOCKER / "polychrony.service").read_text()
    path = tmp_path / "polychrony.service"
    path.write_text(unit.replace("/opt/polychrony/.venv/bin/polychrony", sys.executable))
    ran = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True, check=False
    )
    ours = [line for line in ran.stderr.splitlines() if "polychrony" in line]
    assert ours == []


def test_the_health_check_says_how_it_is(service):
    def health(port):
        environment = {"POLYCHRONY_PORT": str(port), "PATH": "/usr/bin:/bin"}
        return subprocess.run(
            [sys.executable, DOCKER / "health.py"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    assert health(service.port).returncode == 0
    assert "ready" in health(service.port).stdout
    assert health(1).returncode == 1
    assert "Traceback" not in health(1).stderr


def test_the_bill_of_materials_is_that_of_the_lock():
    bill = json.loads((DOCKER / "sbom.cdx.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    listed = {part["name"]: part["version"] for part in bill["components"]}
    assert listed == pinned("full")
    assert "://" not in "".join(str(part.get("externalReferences", "")) for part in bill["components"])


@pytest.mark.long
@pytest.mark.parametrize("lock", ["full", "slim"])
def test_every_locked_library_has_a_wheel_for_arm64(lock, tmp_path):
    """pip resolves the lock for an ARM64 machine with glibc 2.36, by hash, and would build nothing."""
    platforms = [f"manylinux_2_{minor}_aarch64" for minor in range(17, 37)] + ["manylinux2014_aarch64"]
    ran = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--dry-run", "--quiet", "--no-deps",
         "--only-binary", ":all:", *(f"--platform={one}" for one in platforms), "--python-version", "3.11",
         "--implementation", "cp", "--target", tmp_path / "none", "--report", tmp_path / "report.json",
         "--require-hashes", "-r", DOCKER / f"{lock}.lock"], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    found = json.loads((tmp_path / "report.json").read_text())["install"]
    files = [one["download_info"]["url"].rpartition("/")[2] for one in found]
    elsewhere = (DOCKER / f"{lock}.lock").read_text().count("sys_platform == 'win32'")
    assert len(files) == len(pinned(lock)) - elsewhere
    assert all(re.search(r"(aarch64|none-any)\.whl", name) for name in files), files
    assert sum("aarch64" in name for name in files) > 10


def test_every_extra_is_in_the_lock_with_hashes():
    sys.path.insert(0, str(DOCKER))
    import extras

    sys.path.remove(str(DOCKER))
    newer, older = (
        f"numpy=={n} ; python_full_version {sign} '3.0' \\\n    --hash=sha256:{n}\n"
        for n, sign in ((2, ">="), (1, "<"))
    )
    assert extras.locked(newer + older) == extras.locked(older + newer) == {"numpy": newer}
    entries = extras.locked(extras.LOCK.read_text())
    known = tomllib.loads((DOCKER.parent / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for wanted in known.values():
        for one in wanted:
            assert "--hash=sha256:" in entries[extras.plain(re.split(r"[<>=]", one)[0])]
    ran = subprocess.run(
        [sys.executable, DOCKER / "extras.py", "camera,none"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert ran.stderr.strip() == f"EXTRAS: allowed are {', '.join(known)}, separated by commas"
    named_there = re.search(r"two of ([a-z0-9, ]+);", (DOCKER.parent / "README.md").read_text())
    assert named_there[1].split(", ") == list(known)
