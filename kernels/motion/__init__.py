"""From a bank's evidence to movements: tile by tile, of the whole view, of what moves by itself."""
