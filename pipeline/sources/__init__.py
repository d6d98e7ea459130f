"""Where events come from: video through the DVS pixel model, and recordings."""
