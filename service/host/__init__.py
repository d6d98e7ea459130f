"""What the machine gives the process: cores, memory, file descriptors, clocks."""
