"""Bottom-up networks that several systems share, and their ImageNet weights."""
