"""What a training would take on hardware that is not here: computed, nothing is run."""
