"""``python -m tests.reliability.one_stream FOLDER``: a service, one stream and one job through it, and its end."""

import sys
from pathlib import Path

from polychrony_client import Client

from pipeline.samples import CLIP
from tests.integration.service_process import ServiceProcess
from tests.reliability.tools import random_events


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    service = ServiceProcess(folder / "data")
    with Client(service.url) as client:
        with client.stream("motion", sensor=(640, 480)) as stream:
            stream.send(*random_events(50_000))
        client.submit(CLIP, "denoise").wait()
    return service.stop()


if __name__ == "__main__":
    sys.exit(main())
