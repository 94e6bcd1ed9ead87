"""A small student that learns from a large teacher."""
