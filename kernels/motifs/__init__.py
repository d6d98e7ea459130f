"""Delay-based motif detection: the pixels' recent past, banks of motifs, sums and decisions."""
