"""What runs are made from: grids to start from, configurations as they are."""
