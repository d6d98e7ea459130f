"""Writing measured tables into the pages of docs/, between ``<!-- part -->`` and ``<!-- end -->``."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def write(page, name, lines):
    """Replace what stands between a part's markers."""
    path = DOCS / page
    block = f"<!-- {name} -->\n\n" + "\n".join(lines).strip() + "\n\n<!-- end -->"
    text, found = re.subn(
        rf"<!-- {name} -->.*?<!-- end -->", lambda _: block, path.read_text(), flags=re.DOTALL
    )
    if not found:
        raise ValueError(f"{page} has no part {name!r}")
    path.write_text(text)
