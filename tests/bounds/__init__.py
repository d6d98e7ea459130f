"""Inputs at the ends of everything. They run in the suite, and in ``make test-bounds`` with every index checked."""
