"""Whether the service in this container takes work: exit code 0 or 1, with what it says."""

import http.client
import os
import ssl
import sys

PORT = int(os.environ.get("POLYCHRONY_PORT", "8700"))


def ask(connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
    connection.request("GET", "/readyz")
    return connection.getresponse()


try:
    try:
        answer = ask(http.client.HTTPConnection("127.0.0.1", PORT, timeout=4))
    except (http.client.HTTPException, ConnectionResetError):
        # It speaks TLS, with its own certificate, under a name that it need not have.
        anyone = ssl._create_unverified_context()
        answer = ask(http.client.HTTPSConnection("127.0.0.1", PORT, timeout=4, context=anyone))
    sys.stdout.write(answer.read(500).decode(errors="replace") + "\n")
    sys.exit(0 if answer.status == 200 else 1)
except (OSError, http.client.HTTPException) as problem:
    sys.stdout.write(f"{problem}\n")
    sys.exit(1)
