"""Learning the weights of an image with ground truth: losses, descent, the steps of a fit."""
