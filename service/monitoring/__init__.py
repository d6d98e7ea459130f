"""Logs, metrics, traces, readiness and checks."""
