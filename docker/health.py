"""Whether the service in this container takes work: exit code 0 or 1, with what it says."""

import http.client
import os
import ssl
import sys

port = int(os.environ.get("POLYCHRONY_PORT", "8700"))
if os.environ.get("POLYCHRONY_TLS_CERTFILE"):
    # Its own certificate, under a name that it need not have.
    connection = http.client.HTTPSConnection(
        "127.0.0.1", port, timeout=4, context=ssl._create_unverified_context()
    )
else:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=4)
try:
    connection.request("GET", "/readyz")
    answer = connection.getresponse()
    sys.stdout.write(answer.read(500).decode(errors="replace") + "\n")
    sys.exit(0 if answer.status == 200 else 1)
except OSError as problem:
    sys.stdout.write(f"{problem}\n")
    sys.exit(1)
