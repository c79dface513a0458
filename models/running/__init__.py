"""What runs a network on pictures: engines, passes, features, likeness. Knows nothing of how it learned."""
