"""Inputs that went wrong once, read rightly or refused with the words that settle it; what each is, is told beside them.

The files lie with the real recordings, in ``cases``. A case states the exit code, then the number of events, their first
and last time, and the ranges of x and y, or the words that the one line on stderr holds.
"""

import json

import numpy as np
import pytest

from kernels.coding import events as kernels_events
from pipeline import packets
from pipeline.sources import InputOptions, open_source
from service.cli import _status

READ = {
    # file and options: events, first t, last t, (least x, largest x), (least y, largest y)
    "few_events_at_5min.npz": (3, 300_000_000, 300_002_000, (3, 3), (4, 4)),
    "ten_events_unix_time.npz": (10, 1643243628737093, 1643243628746093, (3, 3), (4, 4)),
    "dsec_plain.h5": (5000, 36607300922, 36608300619, (0, 639), (0, 479)),
    "dsec_plain.h5 --zero-time": (5000, 0, 999_697, (0, 639), (0, 479)),
    "dsec_blosc.h5": (5000, 36607300922, 36608300619, (0, 639), (0, 479)),
    "long_header.aedat": (2000, 0, 199_900, None, None),
    "aedat2_first_y140.aedat": (2000, 0, 99_950, None, None),
    "TranslatingSquare.aedat --sensor 240x180": (16000, 50_000, 5_000_000, (70, 209), None),
    "TranslatingSquare.aedat --chip DAVIS240": (16000, 50_000, 5_000_000, (70, 209), None),
    "davis346_chip.aedat": (2000, 0, 199_900, (300, 300), None),
    "dhp19_y306.aedat": (900, 10, 9990, None, None),
    "tmpdiff128.aedat": (5000, 266, 999_963, (0, 127), (0, 127)),
    "v2e_640.aedat --sensor 640x480": (5000, 266, 999_963, (0, 639), (0, 479)),
    "metavision_xypt.csv --columns xypt": (5000, 266, 999_963, (0, 639), (0, 479)),
    "metavision_geom.csv": (5000, 266, 999_963, (0, 639), (0, 479)),
    "npsavetxt_header_xypt.csv": (5000, 266, 999_963, (0, 639), (0, 479)),
    "e21_legacy.raw": (2000, 266, 405_675, None, None),
    "e2_others.raw --on-fault error": (3, 6403, 6406, None, None),
    "ros_test_data_evt3_trigger": (82469, 14224870, 15476187, None, None),
    "bag_trig": (82469, 14224870, 15476187, None, None),
    "m3ed.h5 --group prophesee/left": (5000, 266, 999_963, (0, 639), (0, 479)),
    "m3ed.h5 --group prophesee/right": (1000, 266, 199_926, None, None),
    "v2e.h5": (5000, 266, 999_963, (0, 639), (0, 479)),
    "v2e.h5 --columns txyp": (5000, 266, 999_963, (0, 639), (0, 479)),
    "t_uint32_wrap.npz": (5000, 4294467562, 4295467259, (0, 639), (0, 479)),
    "neg_t.npz --zero-time": (5000, 0, 999_697, (0, 639), (0, 479)),
    "float_us.csv": (5000, 266_000_000, 999_963_000_000, (0, 639), (0, 479)),
    "float_us.csv --time-unit us": (5000, 266, 999_963, (0, 639), (0, 479)),
    "esim_ns.npz": (5000, 266_000, 999_963_000, (0, 639), (0, 479)),
    "esim_ns.npz --time-unit ns": (5000, 266, 999_963, (0, 639), (0, 479)),
    "truefalse.csv": (5000, 266, 999_963, (0, 639), (0, 479)),
    "unix_ns_nohead.csv --time-unit ns": (5000, 1650000000000266, 1650000000999963, (0, 639), (0, 479)),
    "mixed_float_int_time.csv": (5000, 266, 999_963, (0, 639), (0, 479)),
    "utf16.csv": (5000, 266, 999_963, (0, 639), (0, 479)),
    "ecd_events.zip": (5000, 266, 999_963, (0, 639), (0, 479)),
}

TOLD = {
    # file and options: words of info's JSON
    "dhp19_y306.aedat": {"repaired": {"dropped_outside_sensor": 100}},
    "ros_test_data_evt3_trigger": {"triggers": 2, "epoch_ns": 0},
    "bag_trig": {"triggers": 2, "epoch_ns": 0},
    "m3ed.h5 --group prophesee/right": {"width": 1280, "height": 720},
    "metavision_geom.csv": {"width": 1280, "height": 720, "sensor_from": "file"},
    "e2_others.raw --on-fault error": {"triggers": 1, "repaired": {}},
    "t_uint32_wrap.npz": {"clock_wraps": 1},
    "ecd_events.zip": {"columns": "txyp (from the values)"},
}

WARNED = {
    "float_us.csv": ("999697 s", "taken as s", "--time-unit us"),
    "esim_ns.npz": ("taken as us", "give --time-unit ns"),
}

REFUSED = {
    # command: words of the one line
    "info TranslatingSquare.aedat": ("names no chip", "--chip", "--sensor"),
    "info v2e_640.aedat": ("names no chip", "DVS640", "640x480"),
    "info metavision_xypt.csv": ("x,y,p,t", "t,x,y,p", "--columns xypt"),
    "info metavision_xypt.csv --on-fault error": ("x,y,p,t", "t,x,y,p", "--columns xypt"),
    "info evt4.raw": ("the format EVT4, which is not read",),
    "info m3ed.h5": ("prophesee/left", "prophesee/right", "--group"),
    "info neg_t.npz": ("2511 of its first 5000 times are negative", "--zero-time"),
    "info unix_ns_nohead.csv": ("1650000000000266000", "--time-unit ns"),
    "info av1.mp4": ("AV1 video",),
    "info gesture31.aedat": ("holds no events",),
    "analyze one_frame.mp4 --out OUT": ("holds one frame, and one frame makes no events",),
    "convert ten_events_unix_time.npz OUT.raw": ("EVT3", "would wrap its clock", "--zero-time"),
    "convert dsec_plain.h5 OUT.raw --from 2 --to 3": ("the range 2 s to 3 s", "lasts 0.999697 s"),
}


@pytest.fixture
def cases(data_dir):
    folder = data_dir / "cases"
    if not folder.is_dir():
        pytest.skip(f"no cases at {folder}")
    return folder


def run(capsys, *arguments):
    """(status, stdout, stderr) of the command, in this process."""
    status = _status([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return status, said.out, said.err.strip()


def options_of(words):
    names = {"--sensor": "sensor", "--chip": "chip", "--columns": "columns", "--group": "group"}
    names |= {"--time-unit": "time_unit", "--on-fault": "on_fault"}
    found, rest = {}, list(words)
    while rest:
        name = rest.pop(0)
        if name == "--zero-time":
            found["zero_time"] = True
        else:
            found[names[name]] = rest.pop(0)
    return InputOptions(**found)


@pytest.mark.parametrize("case", READ)
def test_it_is_read_rightly(cases, capsys, case):
    name, *words = case.split()
    n, first, last, xs, ys = READ[case]
    status, out, err = run(capsys, "info", cases / name, *words, "--json")
    document = json.loads(out)
    assert (status, document["events"], document["t_first_us"], document["t_last_us"]) == (0, n, first, last)
    assert {key: document[key] for key in TOLD.get(case, {})} == TOLD.get(case, {})
    warned = WARNED.get(case, ())
    assert all(word in err and word in document["warnings"][0] for word in warned)
    assert (err == "", document["warnings"] == []) == (not warned, not warned), err
    source = open_source(cases / name, options_of(words))
    _, x, y, p = packets.join([reading.events for reading in source.batches()])
    for column, span in ((x, xs), (y, ys)):
        assert span is None or (int(column.min()), int(column.max())) == span
    if n >= 1000 and "chip" not in name and not name.startswith("dhp19"):
        assert 0.2 < np.count_nonzero(p) / n < 0.8 or name.startswith(("long", "aedat2", "Trans", "e21")), (
            name
        )


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_with_the_words_that_settle_it(cases, capsys, tmp_path, case):
    verb, name, *words = case.split()
    words = [str(tmp_path / word.replace("OUT", "out")) if word.startswith("OUT") else word for word in words]
    status, _, err = run(capsys, verb, cases / name, *words)
    lines = [line for line in err.splitlines() if line.startswith("polychrony: ")]
    assert (status, len(lines)) == (1, 1), err
    assert all(word in lines[0] for word in REFUSED[case]), lines[0]
    assert list(tmp_path.iterdir()) == []


def test_a_square_that_moves_right_and_up_does_so(cases):
    """Rueckauer and Delbruck's recording: its ground truth moves by (20, 20) px/s, with y upwards."""
    source = open_source(cases / "TranslatingSquare.aedat", InputOptions(chip="DAVIS240"))
    t, x, y, _ = packets.join([reading.events for reading in source.batches()])
    seconds = (t - t[0]) * 1e-6
    for column, speed in ((x, 20.0), (y, -20.0)):  # ours grow downwards
        slope = np.polyfit(seconds, column.astype(float), 1)[0]
        assert abs(slope - speed) < 1.0
    early, late = x[:1600].mean(), x[-1600:].mean()
    assert (round(early - 94), round(late - 184)) == (0, 0)


@pytest.mark.parametrize(
    ("words", "n"),
    [
        ("few_events_at_5min.npz OUT.raw", 3),
        ("ten_events_unix_time.npz OUT.raw --to-format EVT2", 10),
        ("dsec_plain.h5 OUT.raw --from 36607.5 --to 36607.51 --absolute", 50),
        ("dsec_plain.h5 OUT.raw --from 0.2 --to 0.21", 49),
        ("vfr.mkv OUT.npz --frame-interpolation off", None),
        ("vfr.mkv OUT.npz --frame-interpolation off --on-fault error", None),
        ("anim.gif OUT.npz --frame-interpolation off", None),
        ("anim.gif OUT.npz --frame-interpolation off --frame-rate 1000", None),
    ],
)
def test_it_is_converted_and_back(cases, capsys, tmp_path, words, n):
    name, out, *rest = words.replace("OUT", str(tmp_path / "out")).split()
    status, said, err = run(capsys, "convert", cases / name, out, *rest, "--json")
    assert status == 0, err
    document = json.loads(said)
    source = open_source(tmp_path / out)
    t, *_ = packets.join([reading.events for reading in source.batches()])
    assert len(t) == document["events"] > 0
    assert n in {None, len(t)}
    assert document["repaired"] == {}
    assert kernels_events.is_sorted(t)
    if name == "vfr.mkv":
        assert 300_000 < t[-1] <= 320_000


def test_without_the_extra_it_is_named(cases, capsys, monkeypatch):
    import h5py

    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda code: code != 32001)
    status, _, err = run(capsys, "info", cases / "dsec_blosc.h5")
    assert (status, "Blosc" in err, "hdf5plugin, the extra hdf5" in err) == (1, True, True)
