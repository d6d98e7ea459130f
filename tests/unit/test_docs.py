"""The pages say what the code does."""

import re
from pathlib import Path
from typing import get_args

import pytest

import kernels
import pipeline
import service
from pipeline import packets, wire
from pipeline.row_kinds import ROW_KINDS, Kind, Published
from pipeline.stage import Context, Port, StageConfig
from pipeline.stages import KINDS
from service.app import create_app
from service.cli import GROUPS, VERBS
from service.settings import Settings
from service.streams import admission
from service.streams.stream import State

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text()


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def section(text, title):
    return re.split(r"^## ", text.split(f"## {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def rows(text):
    """The cells of the tables in a text, without headings."""
    table = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    return [cells for i, cells in enumerate(table) if not set("".join(cells)) <= set("- ") and not (
        i + 1 < len(table) and set("".join(table[i + 1])) <= set("- ")
    )]  # fmt: skip


def test_the_quick_start_has_exactly_two_commands_and_they_exist():
    (commands,) = blocks(section(README, "Quick start"), "sh")
    names = [line.split("#")[0].strip() for line in commands.strip().splitlines()]
    assert names == ["make run", "make test"]
    makefile = (ROOT / "Makefile").read_text()
    for name in re.findall(r"`make (\w+)`", README):
        assert re.search(rf"^{name}:", makefile, re.MULTILINE), name


def test_every_command_that_is_shown_exists():
    verbs = {*VERBS, *GROUPS}
    pages = README + "".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
    shown = set(re.findall(r"(?:bin/|`)polychrony (\w+)", pages))
    assert shown <= verbs
    assert (
        verbs
        == set(re.findall(r"`(?:polychrony )?(\w+)(?: motif)?`", (ROOT / "CHANGELOG.md").read_text())) & verbs
    )


def test_a_line_of_a_shell_block_holds_one_command():
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for block in blocks(path.read_text(), "sh"):
            for line in block.splitlines():
                assert (
                    len(re.findall(r"(?:^|\s)(?:\.venv/bin/)?polychrony [a-z]", line.split("#")[0])) <= 1
                ), (path.name, line)


def test_pipelines_that_are_shown_build():
    from pipeline.graph import Graph
    from pipeline.sensor import Sensor
    from pipeline.spec import parse, presets

    (shown,) = blocks(README, "yaml")
    assert list(Graph(parse(shown), Sensor(width=64, height=48)).outputs) == ["motion", "field"]
    assert set(re.findall(r"`(\w+)`", re.search(r"Presets: (.*?)Stages:", README, re.DOTALL)[1])) == set(
        presets()
    )
    assert set(re.findall(r"`(\w+)`", re.search(r"Stages: (.*?);", README, re.DOTALL)[1])) == set(KINDS)


def files(folder):
    return {path.name for path in folder.glob("*.py") if path.name not in {"__init__.py", "__main__.py"}}


@pytest.mark.parametrize(
    ("title", "package"), [("kernels/", kernels), ("pipeline/", pipeline), ("service/", service)]
)
def test_the_map_names_every_file(title, package):
    folder = Path(package.__file__).parent
    text = (ROOT / "docs" / "architecture.md").read_text()
    named = {
        cells[0].strip("`*")
        for line in re.findall(rf"^## {title}.*?(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
        for cells in rows(line)
    }
    groups = {name for name in named if any(other != name and other.startswith(name) for other in named)}
    there = files(folder)
    for path in folder.iterdir():
        if path.is_dir() and path.name[0] not in "_." and path.name != "web":
            there.add(f"{path.name}/")
            if f"{path.name}/" in groups:
                there |= {f"{path.name}/{name}" for name in files(path)}
    assert named == there


def test_the_protocol_names_every_frame_type_and_code():
    for title, numbers in (("Ingest", range(1, 7)), ("Results", range(16, 24))):
        named = {name: int(number) for number, name, *_ in rows(section(PROTOCOL, title))}
        assert sorted(named.values()) == list(numbers)
        assert {name: getattr(wire, name.upper()) for name in named} == named
    codes = {int(cells[0]) for cells in rows(section(PROTOCOL, "Close codes"))}
    used = {
        admission.BAD_FRAME,
        admission.NO_STREAM,
        admission.SEQUENCE_GAP,
        admission.SUPERSEDED,
        admission.POLICY,
        admission.TOO_LARGE,
        admission.FAULT,
        admission.RESTART,
    }
    assert codes == used | {1000}
    assert f"Stream states: {', '.join(State)}." in PROTOCOL


FIELDS = re.compile(r"\b(i64|u16|u32|f32) (?!per class)([a-z_]+|0)")


def test_the_protocol_lays_out_every_kind_of_rows():
    told = {name: text for _, name, text, *_ in rows(section(PROTOCOL, "Results"))}
    told["decisions"] = re.search(r"as rows, for digests and tables: (.*?)\.\n", PROTOCOL, re.DOTALL)[1]
    for name, kind in ROW_KINDS.items():
        if name == "events":  # thinned on the wire
            continue
        found = [(field, "zero" if column == "0" else column) for field, column in FIELDS.findall(told[name])]
        layout = [(f"{code[1]}{8 * int(code[2:])}", column) for column, code in kind.layout.descr]
        assert found == layout, name
        assert ("f32 per class" in told[name]) == kind.per_class
    assert set(get_args(Published)) < set(ROW_KINDS) == set(get_args(Kind))


def test_the_header_is_laid_out_as_the_page_says():
    sizes = {"4 bytes": 4, "u8": 1, "u16": 2, "u32": 4, "u64": 8, "i64": 8}
    at = 0
    for offset, kind, _ in rows(section(PROTOCOL, "Frames")):
        assert int(offset) == at
        at += sizes[kind]
    assert at == wire.HEADER_BYTES


def test_the_protocol_names_every_route(tmp_path):
    document = create_app(Settings(data_dir=tmp_path)).openapi()
    there = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert {(method, path.strip("`")) for method, path, _ in rows(section(PROTOCOL, "REST"))} == there


def test_every_setting_is_listed_with_its_default():
    listed = {cells[0].strip("`"): cells[1:] for cells in rows((ROOT / "docs" / "settings.md").read_text())}
    assert listed == {
        name: ["none" if field.default in (None, ()) else str(field.default), field.description]
        for name, field in Settings.model_fields.items()
    }


def test_every_stage_is_listed_with_its_keys():
    text = (ROOT / "docs" / "add-a-stage.md").read_text()
    listed = {cells[0].strip("`"): (cells[1], re.findall(r"`(\w+)`", cells[2])) for cells in rows(text)}
    assert listed == {
        kind: (config.accepts, [key for key in config.model_fields if key not in {"id", "kind", "input"}])
        for kind, config in KINDS.items()
    }


def test_the_stage_that_the_page_shows_works():
    (source,) = blocks((ROOT / "docs" / "add-a-stage.md").read_text(), "python")
    space = {"__name__": "shown"}
    exec(compile(source, "add-a-stage.md", "exec"), space)  # the page is ours
    Polarity = space["Polarity"]
    Polarity.model_rebuild(_types_namespace=space)
    assert issubclass(Polarity, StageConfig)
    import numpy as np

    column = np.arange(4, dtype=np.uint16)
    stage = Polarity(id="p", keep="off").build(Context(Port("events", 8, 8)))
    events = (np.arange(4), column, column, np.array([True, False, True, False]))
    (packet,) = stage.process(packets.events(events, 3))
    assert packet.columns["t"].tolist() == [1, 3]


def test_links_lead_somewhere():
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), (page.name, target)


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_locks_carry_hashes_and_no_address(lock):
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert "index" not in text
    requirements = [line for line in text.splitlines() if re.match(r"\w", line)]
    assert len(requirements) > 40
    assert text.count("--hash=sha256:") >= len(requirements)


def test_the_page_of_inputs_names_every_format_way_and_preset():
    from pipeline.sinks import recordings
    from pipeline.sources import FORMATS, PRESETS
    from pipeline.sources.frames import SENSORS
    from pipeline.sources.live import WAYS

    page = (ROOT / "docs" / "inputs.md").read_text()
    listed = {cells[0]: cells[1:] for cells in rows(section(page, "Files"))}
    assert set(listed) == set(FORMATS)
    assert {name for name, cells in listed.items() if cells[1]} == set(recordings.FORMATS)
    suffixes = {mark for _, written, _ in listed.values() for mark in re.findall(r"`(\.\w+)`", written)}
    assert suffixes == set(recordings.SUFFIXES)
    presets = [cells[0].strip("`") for cells in rows(section(page, "Video"))][: len(PRESETS)]
    assert presets == list(PRESETS)
    assert all(f"`{name}`" in page for name in SENSORS)
    ways = " ".join(cells[0] for cells in rows(section(page, "Live")))
    assert all(way.partition(":")[0].partition(" ")[0] in ways for way in WAYS)


def test_the_options_of_an_input_are_those_of_the_code():
    from typing import get_args

    from pipeline.sources.formats.aedat2 import CHIPS
    from pipeline.sources.options import Chip, options_table

    page = (ROOT / "docs" / "inputs.md").read_text()
    assert options_table() in page
    listed = {cells[0].split(" ")[0]: cells for cells in rows(section(page, "AEDAT 1 and 2"))}
    assert set(listed) == set(CHIPS) == set(get_args(Chip))
    for name, bits in CHIPS.items():
        cells = listed[name]
        assert cells[1] == f"{bits.width}x{bits.height}"
        assert cells[2:4] == [f"bits {at}-{at + n - 1}" for at, n in (bits.x, bits.y)]
        assert cells[4] == f"bit {bits.p} = {bits.on}"


def test_names_that_options_allow_exist():
    from typing import get_args

    from pipeline.sources import FORMATS, PRESETS, InputOptions
    from pipeline.sources.frames import SENSORS
    from pipeline.sources.options import FORMAT_NAMES

    def allowed(name):
        kinds = InputOptions.model_fields[name].annotation
        return {
            value for part in (kinds, *get_args(kinds)) for value in get_args(part) if isinstance(value, str)
        }

    assert allowed("dvs") == set(PRESETS)
    assert allowed("camera") == set(SENSORS)
    assert set(FORMAT_NAMES) == {*FORMATS, "video", "images"}


def test_every_fault_that_is_counted_is_on_the_page():
    page = (ROOT / "docs" / "inputs.md").read_text()
    code = "".join(
        path.read_text() for path in (ROOT / "pipeline" / "sources").rglob("*.py") if "live" not in path.parts
    )
    counted = set(re.findall(r'(?:found|count)\(\s*"(\w+)"', code)) | {
        "dropped_untimed",
        "dropped_unknown_words",
    }
    assert {cells[0].strip("`") for cells in rows(section(page, "What is wrong in a file"))} == counted


def test_every_reason_for_which_an_event_is_lost_is_on_the_page():
    from pipeline.clock import Clock
    from pipeline.engine import Engine
    from pipeline.graph import Graph
    from pipeline.intake import Intake
    from pipeline.sensor import Sensor
    from pipeline.spec import preset
    from pipeline.wire import EVENTS, EVT2, build, parse

    page = section((ROOT / "docs" / "protocol.md").read_text(), "Where an event can get lost")
    listed = [cells[0].strip("`") for cells in rows(page)]
    intake = Intake(Engine(Graph(preset("denoise"), Sensor(width=8, height=8)), Clock()))
    intake.take(parse(build(EVENTS, EVT2, 1, 0, 7, bytes(7))))
    intake.engine.late_triggers = 1
    view = (ROOT / "service" / "streams" / "view.py").read_text()
    repaired = view[view.index("def _repaired") :].partition("def ")[2].partition("def ")[0]
    ignored = {f"ignored_{key}" for key in intake.ignored}
    assert set(listed) == {*intake.dropped, *re.findall(r'"(\w+)":', repaired), *ignored}


def test_every_loss_that_a_live_source_counts_has_a_row():
    live = (ROOT / "docs" / "inputs.md").read_text()
    told = {
        name
        for cells in rows(section(live, "Live"))
        if len(cells) == 3
        for name in re.findall(r"`(\w+)`", cells[0])
    }
    sources = "".join(path.read_text() for path in (ROOT / "pipeline" / "sources" / "live").glob("*.py"))
    counted = set(re.findall(r'_lost\("(\w+)"', sources))
    assert counted <= told, counted - told
