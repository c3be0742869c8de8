"""What models are made of: attention, positions, caches, fast forms of their parts."""
