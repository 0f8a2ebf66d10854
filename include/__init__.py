"""The product's own code. DAGs arrange it, plugins show it; it never imports them."""
