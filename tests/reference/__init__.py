"""Plain twins of the kernels: slow, obvious, written from the definitions."""
