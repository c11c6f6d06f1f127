"""Arrays of any library: where they live, which kernel serves them, what they may hold."""
