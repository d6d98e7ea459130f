"""From pictures to events: interpolation and the DVS pixel."""
