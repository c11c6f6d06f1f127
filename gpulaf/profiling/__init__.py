"""What a labeling or a learning step costs: time, bytes, operations."""
