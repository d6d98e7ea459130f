"""What a stream goes through: packets, stages, graphs, sources, sinks and models."""
