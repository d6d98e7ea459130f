"""Pure arithmetic on event arrays: numba functions behind thin typed wrappers.

One algorithm a file. Nothing here does I/O, knows a clock, or keeps state between calls: state is
an argument and a result. Every kernel has a plain twin in ``tests/reference/``.

    columns     the array types
    events      order, lateness, packing to and from the wire's rows
    decode      EVT2 and EVT3 camera bytes (any cut of the stream), 40-bit ATIS files
    emulator    the DVS pixel: frames in, events out
    filters     crop, downsample, refractory period, background activity
    motifs      heterogeneous-delay motif detection
    motion      evidence to a motion field, tile by tile
"""
