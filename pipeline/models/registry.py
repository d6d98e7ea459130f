"""Models by name: those of the zoo, and those that the user put into the folder of models."""

from __future__ import annotations

import filecmp
import math
import os
import re
import shutil
import threading
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from pydantic import ValidationError

from pipeline.archives import BROKEN_ARCHIVE
from pipeline.data_paths import own_folder
from pipeline.errors import in_words
from pipeline.models import bundle, delta, nir_export, nir_graph, onnx_graph, spiking
from pipeline.models.address_bank import AddressBank
from pipeline.models.bundle import ModelError, Tensors
from pipeline.models.delta import DeltaCard, DeltaNetwork, DeltaRun
from pipeline.models.float_layers import floats
from pipeline.models.flow_readout import FlowReadout
from pipeline.models.motif_bank import MotifBank
from pipeline.models.profiles import Reading
from pipeline.models.spiking import Encoding, Run, SpikingNetwork, sparse
from pipeline.writing import locked

ZOO = Path(__file__).parent / "zoo"
_holder = threading.local()
VERSIONS, VERSION_DIGITS = "versions", 12
Bank = MotifBank | AddressBank
Model = Bank | SpikingNetwork | DeltaNetwork | FlowReadout
_KINDS: dict[
    str, type[MotifBank] | type[AddressBank] | type[SpikingNetwork] | type[DeltaNetwork] | type[FlowReadout]
] = {
    "motif_bank": MotifBank,
    "address_bank": AddressBank,
    "spiking_network": SpikingNetwork,
    "delta_network": DeltaNetwork,
    "flow_readout": FlowReadout,
}


def own() -> Path:
    """The folder of the user's models; see :func:`pipeline.data_paths.own_folder`."""
    return own_folder("models")


def zoo() -> list[str]:
    """Names of the models that come with Polychrony."""
    return _names(ZOO)


def names() -> list[str]:
    """Names of all models; those of the zoo first."""
    if any(own().glob(".*.old")):
        with _exclusive():
            pass
    return zoo() + [name for name in _names(own()) if name not in zoo()]


def folder_of(name: str) -> Path:
    """Where a model of this name lies.

    Raises:
        ModelError: there is none.
    """
    plain, at, version = name.partition("@")
    if plain not in names():
        raise ModelError(f"no model is named {plain!r}: allowed are {', '.join(names())}")
    if not at:
        return (ZOO if plain in zoo() else own()) / plain
    if version not in versions(plain):
        raise ModelError(
            f"{plain} has no version {version!r}: allowed are {', '.join(versions(plain)) or 'none'}"
        )
    return own() / plain / VERSIONS / version


def versions(name: str) -> list[str]:
    """The versions that are kept of one of the user's models, the oldest first; none of one of the zoo's."""
    folder = own() / name / VERSIONS
    found = [path.parent for path in folder.glob(f"*/{bundle.CARD}")] if name not in zoo() else []
    return [path.name for path in sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name))]


def pinned(name: str) -> str:
    """The name with the version that it stands for now, so that it goes on to mean the same; the zoo's stay plain."""
    if "@" in name or name in zoo() or name not in names():
        return name
    version = load(name).digest[:VERSION_DIGITS]
    return f"{name}@{version}" if version in versions(name) else name


def activate(name: str, version: str) -> None:
    """Make a version the one that the name stands for.

    Raises:
        ModelError: there is no such model or version.
    """
    with TemporaryDirectory() as scratch, _exclusive():
        source = folder_of(f"{name}@{version}")
        for file in (bundle.CARD, bundle.WEIGHTS):
            shutil.copyfile(source / file, Path(scratch) / file)
        if read(Path(scratch)).digest[:VERSION_DIGITS] != version:
            raise ModelError(f"version {version} of {name} is damaged: import it anew")
        _exchange(Path(scratch), name, version)


def load(name: str) -> Model:
    """The model of this name.

    Raises:
        ModelError: there is none, or its bundle is broken.
    """
    folder = folder_of(name)
    try:
        changed = max((folder / part).stat().st_mtime_ns for part in (bundle.CARD, bundle.WEIGHTS))
    except OSError as problem:
        raise ModelError(f"model at {folder.name}: {problem.strerror}") from problem
    return _read(folder, changed)


def load_bank(name: str) -> Bank:
    """The bank of motifs of this name.

    Raises:
        ModelError: there is none, or it is another kind of model.
    """
    model = load(name)
    if isinstance(model, MotifBank | AddressBank):
        return model
    raise ModelError(
        f"{name} is a {model.card.kind}, not a bank of motifs; allowed are {_of(MotifBank, AddressBank)}"
    )


def load_network(name: str) -> SpikingNetwork:
    """The spiking network of this name.

    Raises:
        ModelError: there is none, or it is another kind of model.
    """
    model = load(name)
    if isinstance(model, SpikingNetwork):
        return model
    raise ModelError(
        f"{name} is a {model.card.kind}, not a spiking network; allowed are {_of(SpikingNetwork)}"
    )


def load_delta(name: str) -> DeltaNetwork:
    """The Delta network of this name.

    Raises:
        ModelError: there is none, or it is another kind of model.
    """
    model = load(name)
    if isinstance(model, DeltaNetwork):
        return model
    raise ModelError(f"{name} is a {model.card.kind}, not a Delta network; allowed are {_of(DeltaNetwork)}")


def load_readout(name: str) -> FlowReadout:
    """The readout of motion of this name.

    Raises:
        ModelError: there is none, or it is another kind of model.
    """
    model = load(name)
    if isinstance(model, FlowReadout):
        return model
    raise ModelError(
        f"{name} is a {model.card.kind}, not a readout of motion; allowed are {_of(FlowReadout)}"
    )


def read(folder: Path) -> Model:
    """The model in a folder.

    Raises:
        ModelError: it is missing or broken.
    """
    document, tensors, digest = bundle.read(folder)
    kind = _KINDS.get(str(document.get("kind")))
    if kind is None:
        raise ModelError(
            f"model at {folder.name}: kind: {str(document.get('kind'))[:40]!r}, allowed are {', '.join(_KINDS)}"
        )
    try:
        return kind.of(document, tensors, digest)
    except ValidationError as problems:
        first = problems.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ModelError(f"model at {folder.name}: {where}: {in_words(first)}") from problems
    except (KeyError, ValueError) as problem:
        raise ModelError(f"model at {folder.name}: {str(problem).splitlines()[0]}") from problem


_NOT_OPENED = {
    **dict.fromkeys((".pt", ".pth", ".ckpt", ".pkl", ".joblib"), "a file that can run code"),
    **dict.fromkeys((".keras", ".h5", ".tflite", ".pb"), "a file of Keras or TensorFlow"),
}


def install(
    source: Path, name: str | None = None, reading: dict[str, Any] | None = None,
    encoding: dict[str, Any] | None = None,
) -> Model:  # fmt: skip
    """Check a model and put it among the user's.

    Args:
        source: a bundle, a folder or a .zip, which goes under the name in its card; or a .nir file.
        name: of what a .nir file holds; default: the file's.
        reading: what a .nir file does not say, :class:`pipeline.models.profiles.Reading`.
        encoding: how events become its input: ``sensor`` ("346x260") and the rest of
            :class:`pipeline.models.spiking.Encoding`.

    Raises:
        ModelError: it is none, or its name is one of the zoo's.
    """
    with TemporaryDirectory() as scratch:
        folder, model = prepare(source, Path(scratch), name, reading, encoding)
        keep(folder, model.card.name)
    return model


def prepare(
    source: Path, scratch: Path, name: str | None = None, reading: dict[str, Any] | None = None,
    encoding: dict[str, Any] | None = None,
) -> tuple[Path, Model]:  # fmt: skip
    """A model's file as a bundle that was read and tried out, but is not kept yet: (its folder, the model).

    Args:
        source: see :func:`install`, as for the rest.
        scratch: an empty folder, in which the bundle is written where ``source`` is no folder itself.

    Raises:
        ModelError: it is none, or its name is one of the zoo's.
    """
    if not source.exists():
        raise ModelError(f"{source}: no such file")
    if source.suffix.lower() in _NOT_OPENED:
        raise ModelError(
            f"{source.name}: {_NOT_OPENED[source.suffix.lower()]}, which is never opened: "
            "export the network to .onnx or .nir"
        )
    folder = scratch
    if source.suffix in {".nir", ".onnx"}:
        translate = _from_nir if source.suffix == ".nir" else _from_onnx
        translate(source, folder, name or _as_name(source.stem), reading or {}, encoding)
    elif name or reading or encoding:
        raise ModelError(
            f"{source.name}: a bundle says itself what it is; options are for .nir and .onnx files"
        )
    else:
        folder = source if source.is_dir() else _unpacked(source, scratch)
    model = read(folder)
    _try_out(model)
    _demand_own(model.card.name)
    return folder, model


def keep(folder: Path, name: str) -> str:
    """Make a bundle the active version of one of the user's models; which version.

    Raises:
        ModelError: it is none, or is another model's, or the name is one of the zoo's.
    """
    _demand_own(name)
    model = read(folder)
    if model.card.name != name:
        raise ModelError(f"the card of {name} says {model.card.name!r}: give it this name")
    version = model.digest[:VERSION_DIGITS]
    _put(folder, name, version)
    return version


def _demand_own(name: str) -> None:
    if name in zoo():
        raise ModelError(f"{name}: the zoo has a model of this name; give yours another")


def _try_out(model: Model) -> None:
    """Run a network for two steps on nothing and on something: what fits a card may fail at work all the same.

    Raises:
        ModelError: it does.
    """
    try:
        if isinstance(model, SpikingNetwork):
            inputs = math.prod(model.card.input)
            steps = np.zeros((2, inputs), np.float32)
            steps[1] = 1
            Run(model).advance(sparse(steps))
        elif isinstance(model, DeltaNetwork):
            run = DeltaRun(model)
            run.step(np.zeros(math.prod(model.card.input), np.float32))
            run.step(np.ones(math.prod(model.card.input), np.float32))
    except (ArithmeticError, IndexError, ValueError, KeyError) as problem:
        why = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        raise ModelError(f"{model.card.name}: cannot be run: {why}") from problem


def _put(folder: Path, name: str, version: str) -> None:
    """Make a bundle the active one of its name, and keep it among the versions."""
    with _exclusive():
        _exchange(folder, name, version)


@contextmanager
def _exclusive() -> Generator[None]:
    """Nobody else changes the user's models meanwhile, in this process or another; a thread may be in here twice."""
    if getattr(_holder, "inside", False):
        yield
        return
    with locked(own()):
        _holder.inside = True
        try:
            _roll_back()
            yield
        finally:
            _holder.inside = False


def _roll_back() -> None:
    """Bring back what an exchange that was broken off had put aside; then nothing is left aside."""
    for old in own().glob(".*.old"):
        target = own() / old.name[1:-4]
        if target.exists():
            _discard(old)
        else:
            old.rename(target)


def _discard(path: Path) -> None:
    """Remove a model's folder, or whatever lies in its place."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _exchange(folder: Path, name: str, version: str) -> None:
    target = own() / name
    part, old = target.with_name(f".{name}.part"), target.with_name(f".{name}.old")
    for leftover in (part, old):
        _discard(leftover)
    kept = part / VERSIONS / version
    if (target / VERSIONS).is_dir():
        shutil.copytree(target / VERSIONS, part / VERSIONS, copy_function=_linked)
    kept.mkdir(parents=True, exist_ok=True)
    for file in (bundle.CARD, bundle.WEIGHTS):
        shutil.copyfile(folder / file, part / file)
        _keep_copy(folder / file, kept / file)
    if target.exists() or target.is_symlink():
        target.rename(old)
    part.rename(target)
    _discard(old)


def _keep_copy(source: Path, kept: Path) -> None:
    """Copy where there is no copy, or one that is damaged; a version keeps its age, by which versions are listed."""
    times = None
    if kept.is_file():
        if filecmp.cmp(source, kept, shallow=False):
            return
        times = kept.stat().st_atime_ns, kept.stat().st_mtime_ns
        kept.unlink()  # not written into: it is a link to what may be in use
    shutil.copyfile(source, kept)
    if times is not None:
        os.utime(kept, ns=times)


def _linked(source: str, target: str) -> None:
    os.link(source, target)


def export(name: str, target: Path) -> None:
    """Write a model as a .zip, or a spiking network as a .nir graph.

    Raises:
        ModelError: there is none of this name, or it cannot be written so.
    """
    folder = folder_of(name)
    if target.suffix == ".nir":
        nir_export.write(load_network(name), target)
        return
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in (bundle.CARD, bundle.WEIGHTS):
            archive.write(folder / file, file)


def replace(name: str, card: DeltaCard, tensors: Tensors) -> None:
    """Another card for one of the user's Delta networks.

    Raises:
        ModelError: there is none of this name, or it is one of the zoo's.
    """
    if name in zoo():
        raise ModelError(
            f"{name}: models of the zoo stay as they are; export it, and import it under another name"
        )
    with TemporaryDirectory() as scratch:
        delta.save(Path(scratch), card, tensors)
        _put(Path(scratch), name, read(Path(scratch)).digest[:VERSION_DIGITS])


def remove(name: str) -> None:
    """Forget one of the user's models.

    Raises:
        ModelError: there is none of this name, or it is one of the zoo's.
    """
    if name in zoo():
        raise ModelError(f"{name}: models of the zoo stay")
    with _exclusive():
        _discard(folder_of(name))


def _from_onnx(
    source: Path, folder: Path, name: str, reading: dict[str, Any], encoding: dict[str, Any] | None
) -> None:
    """An .onnx file as a bundle; its steps are all alike until they are calibrated."""
    unknown = sorted(set(reading) - {"step", "input_step"})
    if unknown:
        raise ModelError(
            f"{source.name}: {', '.join(unknown)}: of .nir files; allowed are step and input_step"
        )
    try:
        given = None if encoding is None else _encoding(encoding)
        card, tensors = onnx_graph.read(
            source, name, float(reading.get("step", 0.1)), given, float(reading.get("input_step", 1.0))
        )
    except ValidationError as problems:
        first = problems.errors()[0]
        raise ModelError(f"{'.'.join(map(str, first['loc']))}: {in_words(first)}") from problems
    delta.save(folder, _with_warnings(card, _clipping(card, tensors)), tensors)


def _clipping(card: DeltaCard, tensors: Tensors) -> list[str]:
    """Layers whose outputs are larger than their step holds, on nothing, on everything and on noise."""
    n, top = int(np.prod(card.input)), card.input_top
    noise = np.random.default_rng(0).integers(0, top + 1, (2, n))
    frames = [np.zeros(n), np.full(n, top), *noise]
    _, ranges = floats(card, tensors, [frame.astype(np.float32) for frame in frames])
    return [
        f"{layer.name}: its outputs reach {reach:.3g}, and step {layer.step:g} holds {layer.step * layer.top:g} "
        f"({layer.top} levels): larger ones are clipped; give --step {1.25 * reach / layer.top:.2g}, or run "
        "`polychrony models calibrate`"
        for layer, reach in zip(card.layers[:-1], ranges, strict=False)
        if layer.op != "max_pool" and reach > layer.step * layer.top
    ]


def _with_warnings(card: DeltaCard, warnings: list[str]) -> DeltaCard:
    return (
        card.model_copy(update={"provenance": {**card.provenance, "warnings": warnings}})
        if warnings
        else card
    )


def _from_nir(
    source: Path, folder: Path, name: str, reading: dict[str, Any], encoding: dict[str, Any] | None
) -> None:
    """A .nir file as a bundle."""
    try:
        reading = {key: value for key, value in reading.items() if key not in {"step", "input_step"}}
        how = Reading.model_validate(reading)
        given = None if encoding is None else _encoding(encoding)
        card, tensors = nir_graph.read(source, how, name, given)
    except ValidationError as problems:
        first = problems.errors()[0]
        raise ModelError(f"{'.'.join(map(str, first['loc']))}: {in_words(first)}") from problems
    channels, height, width = card.input
    if given is not None and (given.polarities, given.height, given.width) != (channels, height, width):
        raise ModelError(
            f"sensor: the network reads {channels} x {height} x {width} (channels, rows, columns), not "
            f"{given.polarities} x {given.height} x {given.width}"
        )
    spiking.save(folder, card, tensors)


def _encoding(stated: dict[str, Any]) -> Encoding:
    sensor = str(stated.get("sensor") or "")
    width, _, height = sensor.partition("x")
    if not (width.isascii() and width.isdigit() and height.isascii() and height.isdigit()):
        raise ModelError("sensor: needed beside step_us or step_events, as WIDTHxHEIGHT")
    rest = {key: value for key, value in stated.items() if key != "sensor" and value is not None}
    return Encoding.model_validate({"width": int(width), "height": int(height), **rest})


def _as_name(stem: str) -> str:
    return re.sub(r"[^a-z0-9_-]+", "-", stem.lower()).strip("-_")[:64] or "imported"


def _of(*kinds: type[Model]) -> str:
    """Names of the models of some kinds."""
    fitting: list[str] = []
    for name in names():
        try:
            model = load(name)
        except ModelError:
            continue
        if isinstance(model, kinds):
            fitting.append(name)
    return ", ".join(fitting) or "none yet"


def _names(folder: Path) -> list[str]:
    found = [path.parent.name for path in folder.glob(f"*/{bundle.CARD}")]
    return sorted(
        name for name in found if re.fullmatch(bundle.NAME, name)
    )  # `match` would let a final newline through


@lru_cache(maxsize=32)
def _read(folder: Path, _changed: int) -> Model:
    return read(folder)


def _unpacked(source: Path, scratch: Path) -> Path:
    """The two files of a bundle out of a .zip; nothing else in it is touched."""
    try:
        with zipfile.ZipFile(source) as archive:
            for name, most in (
                (bundle.CARD, bundle.MAX_CARD_BYTES),
                (bundle.WEIGHTS, bundle.MAX_WEIGHT_BYTES),
            ):
                with archive.open(name) as packed:
                    data = packed.read(most + 1)
                if len(data) > most:
                    raise ModelError(f"{source.name}: {name} is larger than {most} bytes")
                (scratch / name).write_bytes(data)
    except ModelError:
        raise
    except BROKEN_ARCHIVE as problem:
        raise ModelError(
            f"{source.name}: neither a folder nor a .zip with {bundle.CARD} and {bundle.WEIGHTS}"
        ) from problem
    return scratch
