"""What a loss does as an objective: descents on pixels, duels, mistakes made in training."""
