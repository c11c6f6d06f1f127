"""Labels of images, volumes and the nodes of graphs."""
