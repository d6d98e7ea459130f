"""Pure arithmetic on event arrays: numba functions behind thin typed wrappers.

One algorithm a file. Nothing here does I/O, knows a clock, or keeps state between calls: state is
an argument and a result. Kernels have plain twins in ``tests/reference/``.

    coding      bytes of cameras and of the wire, and the order of events
    video       from pictures to events: interpolation and the DVS pixel
    motifs      delay-based motif detection: the pixels' recent past, banks of motifs, sums and decisions
    motion      from a bank's evidence to movements
    networks    spiking and Delta layers
    learning    what trains banks and networks
    filters     refractory period, background activity
    random      draws that depend on nothing but seed, index and pixel
    sha256      a digest that can be kept and gone on with
    columns     the array types
"""
