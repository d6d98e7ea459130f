"""stub"""
from typing import Any
def report(*a: Any) -> dict[str, Any]:
    return {}
