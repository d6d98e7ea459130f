import io
import zipfile

import pytest

from pipeline.archives import BROKEN_ARCHIVE
from pipeline.models import registry
from pipeline.models.bundle import ModelError


def archive(compression):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as made:
        made.writestr("a.json", b"x" * 60)
        made.writestr("b.bin", bytes(range(200)))
    return packed.getvalue()


@pytest.mark.parametrize(
    "compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_a_damaged_archive_raises_what_is_listed_and_nothing_else(compression):
    whole = archive(compression)
    damaged = [whole[:n] for n in range(0, len(whole), 5)]
    damaged += [
        whole[:i] + bytes([whole[i] ^ 1 << bit]) + whole[i + 1 :]
        for i in range(len(whole))
        for bit in range(8)
    ]
    refused = 0
    for one in damaged:
        try:
            with zipfile.ZipFile(io.BytesIO(one)) as opened:
                for name in ("a.json", "b.bin"):
                    opened.read(name)
        except BROKEN_ARCHIVE:
            refused += 1
    assert refused > len(damaged) // 2


def test_a_model_in_a_damaged_archive_is_refused_as_such(tmp_path):
    registry.export("motif8", tmp_path / "m.zip")
    whole = (tmp_path / "m.zip").read_bytes()
    headers = [*range(60), *range(whole.find(b"PK\x01\x02"), len(whole))]
    refused = []
    for i in headers:
        (tmp_path / "x.zip").write_bytes(whole[:i] + bytes([whole[i] ^ 1 << i % 8]) + whole[i + 1 :])
        (tmp_path / "to").mkdir(exist_ok=True)
        try:
            registry._unpacked(tmp_path / "x.zip", tmp_path / "to")
        except ModelError as problem:
            refused.append(str(problem))
    assert len(refused) > len(headers) // 3
    assert all("x.zip" in one for one in refused)
