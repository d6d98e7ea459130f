"""Pictures, movements and scenes to train and test on."""
