"""Files: images, tensors with metadata, pairs of images and truths; written whole or not at all."""
