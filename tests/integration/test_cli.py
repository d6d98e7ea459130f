"""The command line as people and machines use it."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import samples
from pipeline.library import PRESETS
from pipeline.sources import InputOptions
from pipeline.spec import load, preset, presets
from service.cli import GROUPS, VERBS, options
from service.cli import _status as status_of
from tests.benchmarks import platforms

ROOT = Path(__file__).parents[2]


def polychrony(*arguments, cwd=ROOT, **environment):
    # No warnings filter of ours: people run it without.
    return subprocess.run(
        [sys.executable, "-m", "service", *map(str, arguments)], capture_output=True, text=True, timeout=900,
        cwd=cwd, env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100", **environment}, check=False,
    )  # fmt: skip


def answer(*arguments, **options):
    result = polychrony(*arguments, **options)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_info_for_machines_and_for_people(data_dir):
    path = data_dir / "recordings" / "evt3_640x480.raw"
    document = json.loads(answer("info", path, "--json"))
    assert {key: document[key] for key in ("format", "width", "height", "events", "t_first_us", "t_last_us")} == {
        "format": "EVT3", "width": 640, "height": 480, "events": 343_474, "t_first_us": 7_139_845, "t_last_us": 9_218_023
    }  # fmt: skip
    text = answer("info", path)
    assert "343,474" in text
    assert "2.078178 s" in text


def test_info_of_a_video(data_dir):
    document = json.loads(answer("info", data_dir / "video" / "bikes.mp4", "--json"))
    assert (document["format"], document["width"], document["height"]) == ("video", 640, 272)
    assert (document["frames"], document["events"]) == (250, None)


def test_analyze_without_input_finds_the_directions_of_the_sample(tmp_path):
    summary = json.loads(answer("analyze", "--out", "answers", "--json", cwd=tmp_path))
    assert summary["input"]["name"] == samples.CLIP.name
    folder = tmp_path / "answers"
    assert sorted(path.name for path in folder.iterdir()) == summary["artifacts"]
    assert json.loads((folder / "summary.json").read_text())["digests"] == summary["digests"]
    counts = summary["labels"]["motion"]
    by_direction = {}
    for label, n in counts.items():
        by_direction.setdefault(label.split()[0], 0)
        by_direction[label.split()[0]] += n
    assert len(by_direction) == 8
    assert (
        min(by_direction.values()) > 0.5 * sum(by_direction.values()) / 8
    )  # each of the eight windows is seen
    report = (folder / "report.html").read_text()
    assert report.count("<svg") >= 5
    assert not re.search(r"(?:src|href)=\"https?:", report)


def test_digests_agree_however_they_are_asked_for(tmp_path, data_dir):
    path = data_dir / "recordings" / "davis346.aedat4"
    summary = json.loads(answer("analyze", path, "--out", tmp_path / "out", "--json"))
    assert json.loads(answer("digest", path, "--json")) == summary["digests"]
    table = answer("digest", tmp_path / "out" / "motion.parquet").split()
    assert table == [summary["digests"]["motion"], "motion"]
    # and of the same events in another format
    answer("convert", path, tmp_path / "same.npz")
    assert json.loads(answer("digest", tmp_path / "same.npz", "--json")) == summary["digests"]


@pytest.mark.long
def test_a_part_of_a_recording(tmp_path, data_dir):
    path = data_dir / "recordings" / "evt3_640x480.raw"
    first = json.loads(answer("info", path, "--json"))["t_first_us"]
    part = ("--from", "0.5", "--to", "1", "--roi", "100,50,200,100")
    answer("convert", path, tmp_path / "part.csv", *part)
    document = json.loads(answer("info", tmp_path / "part.csv", "--json"))
    assert 0 < document["events"] < 343_474
    assert first + 500_000 <= document["t_first_us"] <= document["t_last_us"] < first + 1_000_000
    clock = ("--from", f"{first / 1e6 + 0.5:.6f}", "--to", f"{first / 1e6 + 1:.6f}", "--absolute", *part[4:])
    answer("convert", path, tmp_path / "same.csv", *clock)
    assert (tmp_path / "same.csv").read_bytes() == (tmp_path / "part.csv").read_bytes()
    for outside, span in (
        (("--from", "9"), r"the range from 9 s on lies outside the recording, which lasts 2\.\d+ s"),
        (("--to", "1", "--absolute"), r"which lasts from \d+\.\d+ to \d+\.\d+ s"),
        (("--roi", "700,0,9,9"), "the rectangle 700,0,9,9 lies outside its 640x480 sensor"),
    ):
        result = polychrony("convert", path, tmp_path / "none.csv", *outside)
        assert (result.returncode, re.search(span, result.stderr) is not None) == (1, True), result.stderr
        assert not (tmp_path / "none.csv").exists()


def test_progress_and_a_readable_summary(tmp_path):
    result = polychrony("analyze", samples.CLIP, "-p", "denoise", cwd=tmp_path)
    assert result.returncode == 0
    assert "analyzing windows.mp4 100 %" in result.stderr
    assert "report: windows-answers/report.html" in result.stdout
    assert (tmp_path / "windows-answers" / "clean.parquet").is_file()


def test_several_inputs_get_a_folder_each(tmp_path, data_dir):
    paths = [data_dir / "recordings" / name for name in ("nmnist.bin", "ncars.dat")]
    answer("analyze", *paths, "-p", "denoise", "--out", "all", cwd=tmp_path)
    assert (tmp_path / "all" / "nmnist" / "summary.json").is_file()
    assert (tmp_path / "all" / "ncars" / "summary.json").is_file()


def test_bench_tells_what_this_box_can_take(tmp_path):
    document = json.loads(answer("bench", "--repeat", "1", "--json", "--report", "box.json", cwd=tmp_path))
    rows = {(row["pipeline"], row["stage"]): row for row in document["rows"]}
    report = json.loads((tmp_path / "box.json").read_text())
    assert report["rows"] == document["rows"]
    assert report["machine"]["processor"]
    assert report["machine"]["libraries"]["numba"]
    assert platforms.table([report])[2].startswith(f"| {report['machine']['processor']}, ")
    assert set(report["machine"]) == {
        "processor", "architecture", "cores", "cores_usable", "system", "python", "libraries",
    }  # fmt: skip
    assert {("motion", None), ("motion", "motion"), ("denoise", "clean")} <= set(rows)
    assert all(row["mev_per_s"] > 0 for row in rows.values())


FAILURES = [
    (["info", "none.raw"], 1, "none.raw: No such file or directory"),
    (["analyze", "note.mp4"], 1, "note.mp4: not a video that OpenCV can read"),
    (
        ["analyze", "note.mp4", "-p", "bad.yaml"],
        1,
        "pipeline: stages[0].kind: 'motiv' is no stage; allowed are crop",
    ),
    (
        ["analyze", "-p", "nothing"],
        1,
        "'nothing' is neither a file nor the name of a pipeline (denoise, digits, egomotion, motion, motion36, view)",
    ),
    (["convert", "a.csv", "out.xyz"], 1, "out.xyz: cannot write .xyz; allowed are .raw"),
    (["digest", "fake.parquet"], 1, "fake.parquet: not a readable Parquet file"),
    (["analyze", "a.csv", "--out", "note.mp4", "-p", "denoise"], 1, "note.mp4: exists and is no folder"),
    (["info", "empty.csv"], 1, "empty.csv: holds no events"),
    (["info", "."], 1, "a folder that is no ROS 2 bag and holds no images"),
    (["convert", "a.csv", "a.csv"], 2, "is the input itself"),
    (["convert", "wide.csv", "x.raw"], 1, "EVT3 holds columns and rows below 2048"),
    (["info"], 2, "Missing argument"),
    (["analyze", "a.csv", "a.csv"], 2, "several inputs would be written to a-answers"),
    (["infos"], 2, "No such command"),
    (["info", "a.csv", "--sensor", "big"], 2, "'big' is no size such as 640x480"),
    (["analyze", "a.csv", "--from", "2", "--to", "1"], 2, "is not later than the start of the range, 2 s"),
    (["analyze", "a.csv", "--roi", "1,2,3"], 2, "no rectangle"),
    (["serve", "--port", "99999"], 2, "less than or equal to 65535"),
    (["train", "motif", "--out", "x", "--preset", "none"], 2, "allowed are motif8"),
]


@pytest.mark.parametrize(("arguments", "status", "problem"), FAILURES)
def test_an_error_is_one_clear_line_and_a_status(tmp_path, arguments, status, problem):
    (tmp_path / "note.mp4").write_text("not a video\n")
    (tmp_path / "bad.yaml").write_text("stages: [{id: a, kind: motiv}]\n")
    (tmp_path / "a.csv").write_text("t,x,y,p\n1,2,3,1\n")
    (tmp_path / "wide.csv").write_text("t,x,y,p\n1,4995,3,1\n")
    (tmp_path / "empty.csv").write_text("t,x,y,p\n")
    (tmp_path / "fake.parquet").write_bytes(b"PAR1 and nothing")
    result = polychrony(*arguments, cwd=tmp_path)
    assert result.returncode == status
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("polychrony: ")
    assert problem in lines[0]


def test_an_answer_that_is_empty_is_an_answer(tmp_path, data_dir):
    summary = json.loads(
        answer(
            "analyze",
            data_dir / "recordings" / "nmnist.bin",
            "--roi",
            "0,0,1,1",
            "--out",
            tmp_path / "o",
            "--json",
        )
    )
    assert (summary["events"], summary["rows"]) == (0, {"motion": 0, "field": 0})
    assert (tmp_path / "o" / "report.html").is_file()


def test_a_wrong_setting_is_one_clear_line(tmp_path):
    for name, value in (("POLYCHRONY_MAX_STREAMS", "0"), ("POLYCHRONY_ALLOWED_HOSTS", "name")):
        result = polychrony("serve", "--port", "0", cwd=tmp_path, **{name: value})
        assert (result.returncode, len(result.stderr.strip().splitlines())) == (1, 1), result.stderr


def test_a_failed_analysis_leaves_nothing_behind(tmp_path):
    (tmp_path / "a.csv").write_text("t,x,y,p\n1,2,3,1\n")
    assert (
        polychrony("analyze", "a.csv", "--out", "answers", cwd=tmp_path).returncode == 1
    )  # 3x4 pixels are too few
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.long
def test_training_makes_a_bank_that_can_be_read(tmp_path):
    accuracy = json.loads(
        answer("train", "motif", "--out", tmp_path / "bank", "--steps", "2", "--test-movies", "4", "--json")
    )
    assert set(accuracy) >= {"class", "pruning", "shortening", "quantising", "chance", "what"}
    assert sorted(path.name for path in (tmp_path / "bank").iterdir()) == [
        "model.json",
        "weights.safetensors",
    ]


@pytest.mark.long
def test_the_demonstration_ends_with_0_without_a_terminal(tmp_path):
    result = polychrony("demo", cwd=tmp_path, POLYCHRONY_PORT="0")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "digests are equal" in result.stdout
    assert "WRONG" not in result.stdout
    assert re.search(r"dashboard: http://127\.0\.0\.1:\d+/", result.stderr)


def verbs_of(page):
    """Names of the verbs on a page of help."""
    return re.findall(r"^  ([a-z]+)  +[A-Z]", page.split("Messages:")[1], re.MULTILINE)


def in_process(*arguments):
    """What a verb prints, without a process of its own: there are many pages."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert status_of(list(arguments)) == 0, arguments
    return said.getvalue()


def pages():
    """Every page of help, by what it is asked with."""
    found = {}
    waiting = [[]]
    while waiting:
        verb = waiting.pop()
        page = found[" ".join(verb)] = in_process(*verb, "--help")
        waiting += [[*verb, name] for name in verbs_of(page) if "COMMAND" in page.split("\n")[0]]
    return found


def test_help_fits_80_columns_and_says_what_is_wanted_in_words(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    found = pages()
    assert set(found) >= {
        "",
        "analyze",
        "models import",
        "presets show",
        "train field",
        "token create",
        "demo",
    }
    for verb, page in found.items():
        assert max(map(len, page.splitlines())) <= 80, verb
        assert not re.search(r"<\w+|list\[|\[path\]|x>=|<=x", page), verb
        assert verb.count(" ") == 0 or "--quiet" in page, verb
    titles = re.findall(r"^([A-Z].*):$", found["analyze"], re.MULTILINE)
    assert titles == [
        "Arguments",
        "Options",
        "Reading the input",
        "Video as events",
        "Part of the input",
        "Messages",
    ]
    assert set(verbs_of(found[""])) == {*VERBS, *GROUPS}, "each in a group"
    assert "\nCommands:" not in found[""]


def test_every_option_of_an_input_is_in_one_group():
    grouped = [name for names in options._GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(InputOptions.model_fields)


def test_presets_are_listed_and_shown_as_yaml_that_can_be_used(tmp_path):
    listed = json.loads(answer("presets", "list", "--json"))["pipelines"]
    assert [one["name"] for one in listed if one["preset"]] == presets()
    assert all(one["about"].endswith(".") for one in listed if one["preset"])
    shown = in_process("presets", "list")
    assert all(name in shown for name in presets())
    for name in presets():
        (tmp_path / "own.yaml").write_text(in_process("presets", "show", name))
        assert load(str(tmp_path / "own.yaml")) == preset(name)
    assert answer("presets", "show", "view", COLUMNS="40") == (PRESETS / "view.yaml").read_text()
    assert json.loads(in_process("presets", "show", "view", "--json")) == preset("view").model_dump(
        mode="json"
    )
    assert "no pipeline is named 'none': allowed are denoise" in polychrony("presets", "show", "none").stderr


def test_quiet_leaves_results_and_errors_and_verbose_says_where(tmp_path):
    quiet = polychrony("analyze", samples.CLIP, "-p", "denoise", "-q", cwd=tmp_path)
    assert (quiet.returncode, quiet.stderr) == (0, "")
    assert "report: windows-answers/report.html" in quiet.stdout
    for how, lines in (("-q", 1), ("", 1), ("-v", 5)):
        told = polychrony("info", "none.raw", *filter(None, [how]), cwd=tmp_path)
        assert told.returncode == 1
        assert told.stderr.splitlines()[-1] == "polychrony: none.raw: No such file or directory"
        assert len(told.stderr.splitlines()) >= lines
        assert ("Traceback" in told.stderr) == (how == "-v")


def test_a_shell_completes_verbs_and_pipelines():
    def offered(line):
        words = line.split(" ")
        completing = {
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
            "_POLYCHRONY_COMPLETE": "complete_bash",
        }
        command = Path(sys.executable).with_name("polychrony")
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **completing}
        return subprocess.run(
            [command], capture_output=True, text=True, env=environment, check=True
        ).stdout.split()

    assert offered("polychrony con") == ["convert", "config"]
    assert offered("polychrony analyze -p mo") == ["motion", "motion36"]
    assert "--frame-rate" in offered("polychrony analyze --fra")
