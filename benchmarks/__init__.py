"""What the README prints in figures, and the commands that make them."""
