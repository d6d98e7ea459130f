"""What schemathesis must be told: tus has a media type of its own for plain bytes."""

import schemathesis


@schemathesis.serializer("application/offset+octet-stream")
def plain_bytes(_context, value):
    return value if isinstance(value, bytes) else str(value).encode()
