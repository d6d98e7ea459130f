"""Events as text, one a line: csv, txt, tsv; also in UTF-16, packed with gzip, or alone in a zip."""

from __future__ import annotations

import codecs
import csv
import math
import re
import zipfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.optional_imports import later
from pipeline.sources.base import Reading
from pipeline.sources.formats.columns import (
    TableReader,
    order_of,
    roles,
    stated_order,
    too_many,
    unit_in_name,
    unit_named,
)
from pipeline.sources.formats.reader import CHUNK_BYTES, Faults, InputOptions, sensor_of

pa = later("pyarrow", "reading tables")
pc = later("pyarrow.csv", "reading CSV")

TABLE_SUFFIXES = (".txt", ".csv", ".tsv")
_LONGEST_LINE = 65_536
_HEAD = 65_536
_MOST_UNPACKED, _MOST_RATIO, _ALWAYS_UNPACKED = 64 * 2**30, 100, 2**24
"""Bytes that come out of a packed table: in all, for each byte packed, and whatever it was packed from."""
_UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_TRUE, _FALSE = ("true", "True", "TRUE", "1"), ("false", "False", "FALSE", "0")
_SIZE_IN_COMMENT = re.compile(
    r"^(?:sensor|sensor[ _]size|sensor[ _]resolution|resolution|geometry)? *[:=]? *(\d{2,5}) *[x×] *(\d{2,5})"
    r"(?: *px)?$|^geometry *[:=] *(\d{2,5}) *, *(\d{2,5})$",
    re.IGNORECASE,
)
_UNIT_IN_COMMENT = re.compile(r"\b(?:times?|timestamps?|t)[ _-]*units? *[:=] *([^,;]+)", re.IGNORECASE)
_BARE_UNIT = re.compile(r"^units? *[:=] *([^,;]+)", re.IGNORECASE)


class Csv(TableReader):
    """Text with one event a line, separated by comma, semicolon, tab or blanks.

    The order of columns comes from what was given, from a header line, from a comment that names them, from OpenEB's
    ``%geometry`` (then it is x, y, p, t), or from the values.
    """

    def __init__(self, path: Path, faults: Faults, options: InputOptions) -> None:
        super().__init__(path, faults, options)
        with _open_text(path, faults) as file:
            head = file.read(_HEAD)
        lines = head.split(b"\n")
        comments, self._skip = self._comments(lines)
        first = lines[self._skip] if self._skip < len(lines) else b""
        if len(sizes := _numbers(first)) == 2:  # the size of the sensor, as E2VID's files begin
            self.sensor = sensor_of(int(sizes[0]), int(sizes[1]))
            self._skip += 1
            first = lines[self._skip] if self._skip < len(lines) else b""
        self._separator = _separator(first)
        fields = _fields(first, self._separator)
        named = not _numbers(first)
        self._skip += named
        whole = lines[self._skip :] if len(head) < _HEAD else lines[self._skip : -1]
        rows = [_fields(line, self._separator) for line in whole if line.strip() and not _is_comment(line)]
        rows = [row for row in rows[:4096] if len(row) >= len(fields)]
        self._decimal = (
            "," if self._separator != "," and any("," in cell for row in rows for cell in row) else "."
        )
        if named and rows and all(len(row) > len(fields) and row[len(fields)] for row in rows):
            raise self.faults.error(
                f"its rows have {len(rows[0])} cells and its header {len(fields)}: a column without a "
                "name, such as R's row names; write it without (row.names=FALSE)"
            )
        order = self._order(fields, rows, comments, named)
        self._names = [f"{c}{i}" if c == "_" else c for i, c in enumerate(order.ljust(len(fields), "_"))]
        at = {name: self._names.index(name) for name in "txyp"}
        times = [row[at["t"]] for row in rows if _finite_numbers([row[at["t"]]], self._decimal)]
        self._float_time = any(map(_is_fraction, times))
        if times and not (all(map(_is_fraction, times)) or any(self._has_part(one) for one in times)):
            self.unit_of_rule = "us"  # whole numbers, of which some may be written as 2000.0, or not be there
        self._words = any(row[at["p"]].lower() in {"true", "false"} for row in rows)

    def _comments(self, lines: list[bytes]) -> tuple[list[str], int]:
        """Lines at the start that are no data, and how many; a sensor size among them is taken."""
        comments: list[str] = []
        skip = 0
        while skip < len(lines) - 1 and _is_comment(lines[skip]):
            text = _decoded(lines[skip]).strip().lstrip("#%").strip()
            comments += [text] if text else []
            skip += 1
        for text in comments:
            if found := _SIZE_IN_COMMENT.search(text):
                self.sensor = sensor_of(int(found[1] or found[3]), int(found[2] or found[4]))
            self._take_unit(text)
        return comments, skip

    def _take_unit(self, comment: str) -> None:
        """The unit of times that a comment states.

        Raises:
            SourceError: it states one that is not known.
        """
        if stated := _UNIT_IN_COMMENT.search(comment):
            try:
                self.unit = unit_named(stated[1])
            except ValueError as problem:
                if self.options.time_unit is None:
                    raise self.faults.error(f"its comments {problem}: give --time-unit") from problem
        elif stated := _BARE_UNIT.search(comment):
            with suppress(ValueError):  # of something else
                self.unit = unit_named(stated[1])

    def _order(self, fields: list[str], rows: list[list[str]], comments: list[str], named: bool) -> str:
        given = stated_order(self.options, len(fields), self.faults)
        if named:
            found, unit = (
                roles(fields, self.faults) if given is None else ({}, unit_in_name(fields[given.index("t")]))
            )
            self.unit = unit or self.unit
            if given is None and len(found) < 4:
                raise self.faults.error(
                    f"needs columns t, x, y, p; its header names {', '.join(fields)[:200]}: give --columns"
                )
            names = {name: role for role, name in found.items()}
            return given or "".join(names.get(name, "_") for name in fields)
        if len(fields) < 4:
            raise self.faults.error(f"not a table of t, x, y, p: has {len(fields)} columns")
        return given or self._order_in_comments(comments, len(fields)) or self._order_of_values(rows)

    def _order_in_comments(self, comments: list[str], columns: int) -> str | None:
        for text in reversed(comments):
            listed = text.rpartition(":")[2].strip()
            names = [
                name.strip(" \t\"'")
                for name in re.split(r"[,;\t]" if re.search(r"[,;\t]", listed) else r"\s+", listed)
            ]
            if len(names) == columns:
                found, unit = roles(names, self.faults)
                if len(found) == 4:
                    self.unit = unit or self.unit
                    back = {name: role for role, name in found.items()}
                    return "".join(back.get(name, "_") for name in names)
        return (
            "xypt" if any(text.lower().startswith("geometry") for text in comments) and columns == 4 else None
        )

    def _order_of_values(self, rows: list[list[str]]) -> str:
        numbers = [numbers for row in rows if len(numbers := _finite_numbers(row, self._decimal)) >= 4]
        width = min(map(len, numbers), default=0)
        columns = [np.array([row[i] for row in numbers], np.float64) for i in range(width)]
        if not numbers:
            raise self.faults.error("not a table of t, x, y, p: no line of it holds four numbers")
        order = order_of([_as_whole(column) for column in columns], self.faults)
        self.details["columns"] = f"{order} (from the values)"
        return order

    def _has_part(self, cell: str) -> bool:
        """Whether a time is no whole number."""
        try:
            value = _number(cell, self._decimal)
            return math.isfinite(value) and not value.is_integer()
        except (ValueError, OverflowError):
            return False

    def parts(self) -> Iterator[Reading]:
        """See :class:`Reader`; a block of lines at a time, and one with a broken line in it line by line."""
        self.begin()
        with _open_text(self.path, self.faults) as file:
            for _ in range(self._skip):
                file.readline()
            for block in self._blocks(file):
                yield self.reading(self._columns(block), min(1.0, file.tell() / self.size))

    def _columns(self, block: bytes) -> dict[str, NDArray[Any]]:
        """Columns of whole lines; a time that was a whole number so far may come with a decimal point."""
        for is_float in (False, True) if not self._float_time else (True,):
            try:
                return (
                    self._by_arrow(block, is_float) if self._separator else self._by_blanks(block, is_float)
                )
            except (pa.ArrowException, ValueError, OverflowError):
                continue
        return self._one_by_one(block.split(b"\n"))

    def _blocks(self, file: _Text) -> Iterator[bytes]:
        """Whole lines, about a MiB of them; a line without end is no line and does not fill memory."""
        rest = b""
        while block := file.read(CHUNK_BYTES):
            data = rest + block
            cut = data.rfind(b"\n") + 1
            if cut:
                yield data[:cut]
            rest = data[cut:]
            if len(rest) > _LONGEST_LINE:
                sentence = f"not a table of t, x, y, p: a line of more than {_LONGEST_LINE} bytes"
                self.faults.found("dropped_unusable_rows", 1, sentence)
                file.skip_line()
                rest = b""
        if rest.strip():
            yield rest

    def _by_arrow(self, block: bytes, is_float: bool) -> dict[str, NDArray[Any]]:
        kinds = {name: pa.float64() for name in "xyp"} | {"t": pa.float64() if is_float else pa.int64()}
        if self._words:
            kinds["p"] = pa.bool_()
        table = pc.read_csv(
            pa.BufferReader(block),
            pc.ReadOptions(use_threads=False, column_names=self._names),
            pc.ParseOptions(delimiter=self._separator, quote_char='"'),
            pc.ConvertOptions(
                column_types=kinds, include_columns=list("txyp"), null_values=[], strings_can_be_null=False,
                decimal_point=self._decimal, true_values=_TRUE, false_values=_FALSE,
            ),
        )  # fmt: skip
        return {name: table.column(name).to_numpy() for name in "txyp"}

    def _by_blanks(self, block: bytes, is_float: bool) -> dict[str, NDArray[Any]]:
        if self._words or b'"' in block:
            raise ValueError("words are read line by line")
        text = block.decode("latin-1")
        rows = [
            line
            for line in (text.replace(",", ".") if self._decimal == "," else text).split("\n")
            if line.strip()
        ]
        at = [self._names.index(name) for name in "txyp"]
        # Times as integers keep every digit; loadtxt reads columns of one type only.
        t = np.loadtxt(rows, np.float64 if is_float else np.int64, usecols=at[0], ndmin=1)
        rest = np.loadtxt(rows, np.float64, usecols=at[1:], ndmin=2)
        return {"t": t, "x": rest[:, 0], "y": rest[:, 1], "p": rest[:, 2]}

    def _one_by_one(self, lines: list[bytes]) -> dict[str, NDArray[Any]]:
        """The lines that can be read; the others are counted."""
        at = [self._names.index(name) for name in "txyp"]
        good: list[tuple[float, ...]] = []
        bad: list[bytes] = []
        is_float = self._float_time
        for line in lines:
            if _is_comment(line):
                continue
            fields = _fields(line, self._separator)
            try:
                cell = fields[at[0]]
                time = _number(cell, self._decimal) if _is_fraction(cell) or self._float_time else int(cell)
                if not math.isfinite(time):
                    raise ValueError(cell)
                values = [_number(fields[i], self._decimal) for i in at[1:]]
                good.append((min(max(time, -(2**62)), 2**62), *values))
                is_float = is_float or _is_fraction(cell)  # a word that is no time says nothing of the others
            except (ValueError, IndexError):
                bad.append(line)
        first = bad[0][:40].decode("latin-1").strip() if bad else ""
        sentence = f"not a table of t, x, y, p: {len(bad)} lines such as {first!r}"
        if too_many(len(bad), len(bad) + len(good)) and not self._begun and self.faults.policy == "repair":
            raise self.faults.error(sentence)
        self.faults.found("dropped_unusable_rows", len(bad), sentence)
        t, x, y, p = zip(*good, strict=True) if good else ((), (), (), ())
        kind = np.float64 if is_float else np.int64
        return {
            "t": np.array(t, kind),
            "x": np.array(x, float),
            "y": np.array(y, float),
            "p": np.array(p, float),
        }


class _Text:
    """Bytes of a text in UTF-8 or Latin-1, unpacked and bounded; ``tell`` counts bytes of the file itself."""

    def __init__(self, raw: IO[bytes], size: int, faults: Faults) -> None:
        self._raw, self._faults, self._out = raw, faults, 0
        self._file, self._packed_bytes = raw, 0
        self._rest = b""
        head = self._raw.read(4)
        self._raw.seek(0)
        if head[:2] == b"\x1f\x8b":
            self._packed_bytes = size
            self._file = cast(IO[bytes], _Gunzip(raw))
        elif head == b"PK\x03\x04":
            self._packed_bytes = size
            self._file = _only_table(zipfile.ZipFile(self._raw), faults)
        start = self._take(4)
        self._decoder: Any = None
        if start[:2] in _UTF16:
            self._decoder = codecs.getincrementaldecoder(_UTF16[start[:2]])()
            self._rest = self._decoder.decode(start[2:]).encode()
        else:
            self._rest = start.removeprefix(codecs.BOM_UTF8)

    def read(self, n: int) -> bytes:
        """Up to about n bytes; none at the end."""
        rest, self._rest = self._rest, b""
        if len(rest) >= n:
            self._rest = rest[n:]
            return rest[:n]
        while block := self._take(n - len(rest)):
            made = block if self._decoder is None else self._decoder.decode(block).encode()
            if made:
                return rest + made
        return rest

    def readline(self) -> bytes:
        """A line, or the first bytes of a long one."""
        line = b""
        while len(line) < _LONGEST_LINE and (block := self.read(256)):
            line += block
            if b"\n" in line:
                at = line.index(b"\n") + 1
                self._rest = line[at:] + self._rest
                return line[:at]
        return line

    def skip_line(self) -> None:
        """To behind the end of this line."""
        while (block := self.read(CHUNK_BYTES)) and b"\n" not in block:
            pass
        self._rest = block[block.index(b"\n") + 1 :] + self._rest if b"\n" in block else self._rest

    def tell(self) -> int:
        """How far the file was read."""
        return self._raw.tell()

    def _take(self, n: int) -> bytes:
        try:
            block = self._file.read(n)
        except (EOFError, zlib.error, zipfile.BadZipFile) as problem:
            self._faults.found("broken_off", 1, f"broken off: {problem}")
            return b""
        self._out += len(block)
        most = min(_MOST_UNPACKED, _ALWAYS_UNPACKED + _MOST_RATIO * self._packed_bytes)
        if self._packed_bytes and self._out > most:
            raise self._faults.error(f"unpacks to more than {most} bytes, {_MOST_RATIO} times its size")
        return block


@contextmanager
def _open_text(path: Path, faults: Faults) -> Generator[_Text]:
    with path.open("rb") as raw:
        yield _Text(raw, path.stat().st_size, faults)


class _Gunzip:
    """gzip, member after member, as far as it goes: what was unpacked before a fault comes first."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw, self._inner, self._held, self._over = raw, zlib.decompressobj(31), b"", False

    def read(self, n: int) -> bytes:
        """Up to n bytes; none at the end.

        Raises:
            EOFError: it ends in the middle of a member.
            zlib.error: it is broken here.
        """
        while not self._over:
            packed = self._inner.unconsumed_tail or self._held or self._raw.read(2**16)
            self._held = b""
            if not packed:
                self._over = True
                raise EOFError("the gzip data ends in the middle")
            made = self._inner.decompress(packed, n)
            if self._inner.eof:
                rest = self._inner.unused_data or self._raw.read(2**16)
                self._over = not rest.startswith(b"\x1f\x8b")
                self._inner, self._held = zlib.decompressobj(31), b"" if self._over else rest
            if made:
                return made
        return b""


def _only_table(archive: zipfile.ZipFile, faults: Faults) -> IO[bytes]:
    names = [name for name in archive.namelist() if not name.endswith("/") and not _is_hidden(name)]
    tables = [name for name in names if name.lower().endswith(TABLE_SUFFIXES)]
    events = [name for name in tables if Path(name).stem.lower() == "events"]
    chosen = events if len(events) == 1 else tables
    if len(chosen) != 1:
        held = ", ".join(names[:8]) + (" ..." if len(names) > 8 else "")
        raise faults.error(f"a .zip that holds {held or 'nothing'}, not one table of events: unpack it")
    return archive.open(chosen[0])


def _is_hidden(name: str) -> bool:
    return name.startswith("__MACOSX/") or Path(name).name.startswith(".")


def is_table(head: bytes) -> bool:
    """Whether text with columns begins so, also packed or in UTF-16."""
    if head[:2] == b"\x1f\x8b":
        try:
            head = zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(head, _HEAD)
        except zlib.error:
            return False
    if head[:2] in _UTF16:
        head = head[2:].decode(_UTF16[head[:2]], "replace").encode()
    head = head.removeprefix(codecs.BOM_UTF8)
    lines = [line for line in head.split(b"\n")[:50] if line.strip() and not _is_comment(line)][:3]
    if any(b in head[:4096] for b in b"\x00\x01\x02\x03\x04\x05\x06\x07"):
        return False
    if any(len(_numbers(line)) >= 4 or _is_row_of_words(line) for line in lines):
        return True
    if not lines:
        return False
    names = {name.strip("\"'").lower() for name in _fields(lines[0], _separator(lines[0]))}
    return len(names & {"x", "y", "p", "polarity", "pol", "t", "ts", "timestamp"}) >= 3


def _is_row_of_words(line: bytes) -> bool:
    cells = _fields(line, _separator(line))
    plain = ["1" if cell.lower() in {"true", "false"} else cell for cell in cells]
    return plain != cells and len(_numbers(",".join(plain).encode())) >= 4


def _is_comment(line: bytes) -> bool:
    return not line.strip() or line.lstrip()[:1] in {b"#", b"%"}


def _separator(line: bytes) -> str | None:
    """The mark between cells; None for blanks, between which a comma may be a decimal one."""
    for mark in (";", "\t"):
        if mark.encode() in line:
            return mark
    by_blanks = line.split()
    if b"," in line and len(by_blanks) >= 4 and not any(cell.endswith(b",") for cell in by_blanks):
        return None
    return "," if b"," in line else None


def _fields(line: bytes, separator: str | None) -> list[str]:
    text = _decoded(line).strip()
    if separator and '"' in text:
        return [
            cell.strip() for cell in next(csv.reader([text], delimiter=separator, skipinitialspace=True), [])
        ]
    return [cell.strip().strip("\"'") for cell in text.split(separator)]


def _decoded(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")


def _finite_numbers(row: list[str], decimal: str) -> list[float]:
    """The numbers of a row; none where a cell is no finite number."""
    try:
        numbers = [_number(cell, decimal) for cell in row]
    except ValueError:
        return []
    return numbers if all(map(math.isfinite, numbers)) else []


def _number(cell: str, decimal: str = ".") -> float:
    lower = cell.lower()
    if lower in {"true", "false"}:
        return float(lower == "true")
    return float(cell.replace(",", ".") if decimal == "," else cell)


def _numbers(line: bytes) -> list[float]:
    separator = _separator(line)
    try:
        return [_number(cell, "." if separator == "," else ",") for cell in _fields(line, separator)]
    except ValueError:
        return []


def _is_fraction(cell: str) -> bool:
    return any(mark in cell.lower() for mark in (".", ",", "e", "n"))


def _as_whole(column: NDArray[np.float64]) -> NDArray[Any]:
    finite = np.isfinite(column)
    whole = finite.all() and np.all(column == np.floor(column)) and np.all(np.abs(column) < 2**62)
    return column.astype(np.int64) if whole else column
