"""Model bundles: what they hold, how they are read, and the ones that come with Polychrony."""
