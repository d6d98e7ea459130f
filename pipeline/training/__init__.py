"""Making models: generated motion, labelled recordings, and the trainers."""
