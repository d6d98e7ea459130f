"""Spiking and Delta layers."""
