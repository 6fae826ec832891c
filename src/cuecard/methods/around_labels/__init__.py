"""Methods with vectors around the labels' names, for models of images and texts."""
