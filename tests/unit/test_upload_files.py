"""Uploads in a folder in which other things lie: none of them keeps the service from starting, or holds it up."""

import asyncio
import os

import pytest

from service.storage.files.upload_files import UploadFiles

ID = "0123456789abcdef" * 2
CARDS = [
    b'{"length": Infinity, "metadata": {}}', b'{"length": -1, "metadata": {}}', b'{"length": true, "metadata": {}}',
    b'{"length": "5", "metadata": {}}', b'{"length": 5, "metadata": []}', b'{"length": 5, "metadata": {"filename": 7}}',
    b"[" * 100_000, b"\xff", b"", b"[]", b"5", b'{"length": 5}',
]  # fmt: skip


def opened(folder):
    store = UploadFiles(folder, fsync=False)
    asyncio.run(store.open())
    return store


@pytest.mark.parametrize("card", CARDS, ids=range(len(CARDS)))
def test_a_card_that_says_nothing_is_left_and_its_bytes_are_set_aside(tmp_path, card):
    (tmp_path / f"{ID}.json").write_bytes(card)
    (tmp_path / f"{ID}.bin").write_bytes(b"abc")
    assert asyncio.run(opened(tmp_path).all()) == []
    assert (tmp_path / f"{ID}.bin.damaged").read_bytes() == b"abc"


def test_links_pipes_and_folders_are_left_alone(tmp_path):
    (tmp_path / "dangling.bin").symlink_to("nowhere")
    (tmp_path / "a folder.bin").mkdir()
    os.mkfifo(tmp_path / "pipe.bin")
    before = sorted(path.name for path in tmp_path.iterdir())
    assert asyncio.run(opened(tmp_path).all()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_pipe_in_place_of_an_upload_s_bytes_is_not_waited_for(tmp_path):
    async def work():
        store = UploadFiles(tmp_path, fsync=False)
        await store.open()
        await store.create(ID, 5, {})
        (await store.file(ID)).unlink()
        os.mkfifo(await store.file(ID))
        with pytest.raises(OSError, match="regular|No such device"):
            await store.writer(ID)

    asyncio.run(asyncio.wait_for(work(), 10))


def test_an_upload_that_cannot_be_removed_is_still_known(tmp_path):
    async def work():
        store = UploadFiles(tmp_path, fsync=False)
        await store.open()
        await store.create(ID, 5, {})
        (await store.file(ID)).unlink()
        (await store.file(ID)).mkdir()
        with pytest.raises(OSError, match="directory|permitted"):
            await store.remove(ID)
        assert await store.find(ID) is not None

    asyncio.run(work())
