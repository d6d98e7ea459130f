"""Pure arithmetic on event arrays: numba functions behind thin typed wrappers.

One algorithm a file. Nothing here does I/O, knows a clock, or keeps state between calls: state is
an argument and a result. Kernels have plain twins in ``tests/reference/``.

    columns     the array types
    events      order, lateness, packing to and from the wire's rows
    ties        the order among rows of one time
    decode      EVT2, EVT2.1 and EVT3 camera bytes (any cut of the stream), SPIF words, 40-bit ATIS files
    encode      events to EVT2 and EVT3 bytes
    random      draws that depend on nothing but seed, index and pixel
    photoreceptor  what a DVS pixel sees: response, low-pass, noise, leak
    emulator    the DVS pixel's comparator: frames in, events out
    filters     refractory period, background activity
    history     the recent past of every pixel, as bits
    targets     where a detector is asked for an answer
    motifs      heterogeneous-delay motif detection on the pixel grid
    coincidence the same on addresses, without neighbourhood
    posterior   from sums to probabilities and steered thresholds
    motion      evidence to a motion field, tile by tile
    global_motion  a motion field to one movement of the whole view
    learning    the regression that trains a bank
    encoding    events to what arrives at a network in a step
    synapses    weighted connections, and what a spike adds along them
    neurons     layers of spiking neurons, updated where something happens
    delta       layers that compute only what changed
    surrogate   the spatial gradient that trains spiking layers
    plasticity  symmetric STDP
    reservoir   neurons that hear each other and balance themselves
    complexity  Lempel-Ziv complexity of spike trains
    scan        textures that slide, and the retina that banks are trained with
"""
