"""Where events and answers go: files, statistics, the report."""
