"""Prints the table of options in docs/inputs.md: ``python -m pipeline.sources``."""

from pipeline.sources import formats  # makes the names of formats known
from pipeline.sources.options import options_table

if __name__ == "__main__" and formats:
    print(options_table())
