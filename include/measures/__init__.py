"""What several analyses share, each under the name of its concept."""
