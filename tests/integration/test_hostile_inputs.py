"""What a second attack with files of its own choosing found, one test for each kind of fault."""

import cv2
import h5py
import nir
import numpy as np
import pytest

from pipeline.arrays import ArrayError
from pipeline.arrays import events_of as taken
from pipeline.models.bundle import ModelError
from pipeline.models.registry import install
from pipeline.sensor import Sensor
from pipeline.sinks import recordings
from pipeline.sources import InputOptions, Reading, SourceError, open_source
from pipeline.sources.formats.columns import unit_named
from pipeline.sources.merge import epoch_of, merged
from tests.integration.test_formats import EVENTS, P, T, X, Y, assert_equal, events_of
from tests.integration.test_networks import ends, network, outputs, spikes, write

F = np.float32
SENSOR = Sensor(width=240, height=180)


def opened(path, **options):
    return open_source(path, InputOptions(**options))


def warned(path, **options):
    source = opened(path, **options)
    events_of(source)
    return " ".join(source.info.warnings)


def csv(path, rows, header="t,x,y,p"):
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def rows_of(*columns):
    return list(zip(*(column.tolist() for column in columns), strict=True))


ROWS = rows_of(T, X, Y, P.astype(int))


# -- networks ------------------------------------------------------------------------------------------


def slow(n):
    return nir.LI(tau=np.full(n, 1e-3), r=np.ones(n), v_leak=np.zeros(n))


def test_a_bias_behind_two_edges_comes_once(tmp_path):
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(0, 0.5, (4, 6)).astype(F), rng.uniform(0.1, 0.4, 4).astype(F)
    start, end = ends((6,), (4,))
    nodes = {
        "input": start,
        "a": slow(6),
        "b": slow(6),
        "w": nir.Affine(weight, bias),
        "n": slow(4),
        "output": end,
    }
    edges = [("input", "a"), ("a", "b"), ("a", "w"), ("b", "w"), ("w", "n"), ("n", "output")]
    made = network(write(tmp_path / "a.nir", nodes, edges), source="nir", dt=1e-3)
    given = spikes(rng, 20, 6)
    # With tau = dt a leaky integrator passes on what it is given; each layer hears of the one before in the same step.
    assert np.allclose(outputs(made, given), 2 * given @ weight.T + bias, atol=1e-5)


@pytest.mark.parametrize("shape", [(4, 1, 1), (1, 1, 4), (1, 4, 1), (1, 4, 1, 1), (4, 4, 4)])
def test_parameters_are_broadcast_as_numpy_does(tmp_path, shape):
    rng = np.random.default_rng(1)
    scale = rng.uniform(0.5, 2, shape).astype(F)
    start, end = ends((4, 4, 4), (4, 4, 4))
    nodes = {"input": start, "s": nir.Scale(scale), "n": slow((4, 4, 4)), "output": end}
    made = network(write(tmp_path / "a.nir", nodes), source="nir", dt=1e-3)
    wanted = np.broadcast_to(scale, (1, 4, 4, 4)).reshape(1, -1)
    assert np.allclose(outputs(made, np.ones((1, 64), F)), wanted, atol=1e-6)


def test_parameters_that_could_be_two_things_are_refused(tmp_path):
    start, end = ends((4, 4, 4), (4, 4, 4))
    nodes = {"input": start, "s": nir.Scale(np.arange(4, dtype=F)), "n": slow((4, 4, 4)), "output": end}
    with pytest.raises(ModelError, match=r"one a channel or one a column: .*\(4, 1, 1\) or \(1, 1, 4\)"):
        network(write(tmp_path / "a.nir", nodes), source="nir", dt=1e-3)


@pytest.mark.parametrize("delay", [65.537, 70.0, 1.024, -0.001, float("nan")])
def test_a_delay_out_of_range_is_refused(tmp_path, delay):
    start, end = ends((2,), (2,))
    nodes = {"input": start, "d": nir.Delay(np.array([0.0, delay])), "n": slow(2), "output": end}
    with pytest.raises(ModelError, match="allowed are 0 to 1023"):
        network(write(tmp_path / "a.nir", nodes), source="nir", dt=1e-3)


def test_models_of_other_kinds_are_refused_with_what_to_do(tmp_path):
    for name in ("net.pt", "net.keras"):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(ModelError, match=r"never opened: export the network to \.onnx or \.nir"):
            install(tmp_path / name, "q")
    for name in ("nosuch.onnx", "nosuch.nir", "nosuch"):
        with pytest.raises(ModelError, match="no such file"):
            install(tmp_path / name)


# -- units, columns and options ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("us", "us"), ("1e-6 s", "us"), ("0.001 ms", "us"), ("1 ns", "ns"), ("0.001 s", "ms"), ("[ms]", "ms"),
        ("microseconds since 1970-01-01", "us"), ("Nanoseconds", "ns"), ("100 ns", None), ("10^-6 s", None),
        ("1/1000000 s", None), ("s*1e-6", None), ("fortnights", None), ("s/1e6", None),
    ],
)  # fmt: skip
def test_a_unit_with_a_factor_is_what_it_says_or_refused(text, unit):
    if unit is None:
        with pytest.raises(ValueError, match="unit"):
            unit_named(text)
    else:
        assert unit_named(text) == unit


@pytest.mark.parametrize(
    ("comment", "time_unit"),
    [
        ("time unit=0.001ms", "us"), ("time unit: ms", "ms"), ("timestamps units: ns", "ns"), ("unit: ms", "ms"),
        ("x,y units: s-pixels", "us"), ("research unit: S2 vision", "us"),
    ],
)  # fmt: skip
def test_only_a_unit_of_time_is_taken_for_one(tmp_path, comment, time_unit):
    source = opened(csv(tmp_path / "a.csv", ROWS, f"# {comment}\nt,x,y,p"), on_fault="drop")
    events_of(source)
    assert source.info.details["time_unit"] == time_unit


def test_a_unit_of_time_that_nobody_knows_is_refused(tmp_path):
    path = csv(tmp_path / "a.csv", ROWS, "# time unit: 100 ns\nt,x,y,p")
    with pytest.raises(SourceError, match="its comments state the unit '100 ns'.*--time-unit"):
        opened(path)
    assert_equal(events_of(opened(path, time_unit="us")), EVENTS)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, column in zip("txyp", EVENTS, strict=True):
            file[name] = column
        file["t"].attrs["units"] = "1e-6 s"
    assert_equal(events_of(opened(tmp_path / "a.h5")), EVENTS)


@pytest.mark.parametrize("behind", [(X, Y, P, T), (T, X, Y, P)])
def test_a_count_of_rows_is_not_taken_for_time(tmp_path, behind):
    table = np.stack([np.arange(len(T)), *(np.asarray(one, np.int64) for one in behind)], axis=1)
    np.save(tmp_path / "a.npy", table)
    np.savetxt(tmp_path / "a.csv", table, "%d", ",")
    for name in ("a.npy", "a.csv"):
        with pytest.raises(SourceError, match="--columns"):
            opened(tmp_path / name)
        order = "_xypt" if behind[0] is X else "_txyp"
        assert_equal(events_of(opened(tmp_path / name, columns=order)), EVENTS)


def test_a_stated_order_keeps_the_unit_of_its_column(tmp_path):
    path = csv(tmp_path / "a.csv", rows_of(T // 1000, X, Y, P.astype(int)), "t_ms,x,y,p")
    assert np.array_equal(events_of(opened(path, columns="txyp"))[0], T // 1000 * 1000)


def test_options_that_change_nothing_are_refused(tmp_path):
    reading = [Reading(EVENTS, 1.0)]
    for name in ("a.raw", "a.npz", "a.csv", "a.h5", "a.parquet"):
        recordings.write(tmp_path / name, reading, SENSOR)
    for name, options in {
        "a.raw": [{"columns": "txyp"}, {"time_unit": "ms"}, {"group": "x"}, {"topic": "/x"}],
        "a.npz": [{"columns": "tyxp"}, {"group": "nosuch"}],
        "a.csv": [{"group": "nosuch"}],
        "a.h5": [{"columns": "tyxp"}, {"group": "nosuch"}],
        "a.parquet": [{"columns": "tyxp"}, {"group": "nosuch"}],
    }.items():
        for one in options:
            with pytest.raises(SourceError, match=r"leave (it )?out|no array nosuch|no group nosuch"):
                events_of(opened(tmp_path / name, **one))


@pytest.mark.parametrize("last", ["nan,nan,nan,nan", "end of file", "timestamp,x,y,polarity"])
def test_one_bad_row_says_nothing_of_the_unit(tmp_path, last):
    path = csv(tmp_path / "a.csv", [*ROWS, (last,)], "timestamp,x,y,polarity")
    source = opened(path)
    assert_equal(events_of(source), EVENTS)
    assert source.info.repaired == {"dropped_unusable_rows": 1}


def test_more_than_a_tenth_of_broken_rows_is_refused(tmp_path):
    for i, spoilt in enumerate(
        (lambda r: (*r[:3], "OFF"), lambda r: (r[0], "", *r[2:]), lambda r: ("x" * 9,))
    ):
        path = csv(tmp_path / f"{i}.csv", [spoilt(row) if j % 6 == 0 else row for j, row in enumerate(ROWS)])
        with pytest.raises(SourceError, match="lines such as|rows are no events"):
            opened(path)


def test_an_unnamed_column_of_row_names_is_refused(tmp_path):
    rows = [(f'"{i}"', *row) for i, row in enumerate(ROWS)]
    with pytest.raises(SourceError, match="rows have 5 cells and its header 4"):
        opened(csv(tmp_path / "a.csv", rows, '"t","x","y","p"'))


def test_polarity_of_another_coding_is_not_told_to_be_dropped(tmp_path):
    path = csv(tmp_path / "a.csv", rows_of(T, X, Y, P.astype(int) + 1))
    with pytest.raises(SourceError, match="write OFF so") as refused:
        opened(path)
    assert "drop" not in str(refused.value)


# -- what is beside the events --------------------------------------------------------------------------


def test_triggers_of_prophesees_hdf5_are_read(tmp_path):
    kinds = [("x", "<u2"), ("y", "<u2"), ("p", "<i2"), ("t", "<i8")]
    events = np.zeros(len(T), kinds)
    for name, column in zip("txyp", EVENTS, strict=True):
        events[name] = column
    edges = np.array(
        [(1, 900, 0), (0, 1_000_000, 2), (1, 500_000, 0)], [("p", "<i2"), ("t", "<i8"), ("id", "<i2")]
    )
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["CD/events"], file["EXT_TRIGGER/events"] = events, edges
        file.attrs["geometry"] = "240x180"
    source = opened(tmp_path / "a.h5")
    found = np.concatenate([one.triggers for one in source.batches()])
    assert found.tolist() == [[900, 0, 1], [500_000, 0, 1], [1_000_000, 2, 0]]
    assert source.info.triggers == 3


def test_columns_that_pandas_names_are_taken_by_name(tmp_path):
    table = np.stack([T, Y, X, P.astype(np.int64)], axis=1)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["df/block0_values"] = table
        file["df/block0_items"] = np.array([b"t", b"y", b"x", b"p"])
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["events"] = table
        file["events"].attrs["columns"] = "t,y,x,p"
    for name in ("a.h5", "b.h5"):
        assert_equal(events_of(opened(tmp_path / name)), EVENTS)


def test_one_of_several_tables_is_not_chosen_by_a_part_of_its_name(tmp_path):
    table = np.stack([T, X, Y, P.astype(np.int64)], axis=1)
    np.savez(tmp_path / "a.npz", train=table, events_test=table[:100])
    with pytest.raises(SourceError, match="train, events_test: choose one with --group"):
        opened(tmp_path / "a.npz")
    assert_equal(events_of(opened(tmp_path / "a.npz", group="train")), EVENTS)


def test_recordings_on_one_clock_are_merged_on_it(tmp_path):
    paths = [tmp_path / "a.npz", tmp_path / "b.npz"]
    for path, epoch_ns in zip(paths, (1_700_000_000_000_000_000, 1_700_000_000_300_000_000), strict=True):
        recordings.write(path, [Reading(EVENTS, 1.0)], SENSOR, epoch_ns=epoch_ns)
    sources = [opened(path) for path in paths]
    assert sources[1].info.epoch_ns == 1_700_000_000_300_000_000
    assert epoch_of(sources) == 1_700_000_000_000_000_000
    t = np.concatenate([one.events[0] for one in merged(sources, "time")])
    assert np.array_equal(t, np.sort(np.concatenate([T, T + 300_000])))


# -- pictures -------------------------------------------------------------------------------------------


def test_pictures_named_by_times_as_python_prints_them_come_in_order(tmp_path):
    for i in range(12):
        name = str(i * 1e-5)
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((4, 4), 20 * i, np.uint8))
    from pipeline.sources.frame_files import open_frames

    frames = open_frames(tmp_path)
    assert [int(frames.read()[0, 0]) for _ in range(12)] == [20 * i for i in range(12)]


def test_pages_of_pictures_in_a_folder_are_not_passed_over(tmp_path):
    pytest.importorskip("PIL")
    from PIL import Image

    pages = [Image.fromarray(np.full((8, 8), i, np.uint8)) for i in range(5)]
    for name in ("0.tif", "1.tif"):
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
    with pytest.raises(SourceError, match="0.tif .*holds 5 pages"):
        opened(tmp_path, frame_rate=10)


# -- clocks -----------------------------------------------------------------------------------------------


def test_a_clock_that_begins_again_is_warned_of(tmp_path):
    np.savez(tmp_path / "a.npz", **{
        name: np.concatenate([column, column]) for name, column in zip("txyp", EVENTS, strict=True)
    })  # fmt: skip
    assert "time falls by 1.9" in warned(tmp_path / "a.npz")
    jittered = T.copy()
    jittered[100] -= 50
    np.savez(tmp_path / "b.npz", t=jittered, x=X, y=Y, p=P)
    assert "falls" not in warned(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", t=T // 1000 * 1000 + np.arange(len(T)) % 7, x=X, y=Y, p=P)
    assert "as no camera's does" in warned(tmp_path / "c.npz")


def test_times_of_a_calendar_are_taken_in_notebooks():
    from polychrony_client.columns import columns_of as sent

    for kind in ("M8[us]", "m8[us]", "m8[ns]"):
        t = T.astype("m8[us]").astype(kind) if kind != "M8[us]" else T.astype(kind)
        assert np.array_equal(sent((t, X, Y, P))[0], T)

    class LazyFrame:
        """As polars' one is named."""

    with pytest.raises(ValueError, match=r"\.collect\(\)"):
        sent(LazyFrame())
    with pytest.raises(ArrayError, match=r"\.collect\(\)"):
        taken(LazyFrame(), SENSOR)
