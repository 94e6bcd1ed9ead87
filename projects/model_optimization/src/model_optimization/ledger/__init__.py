"""What each variant costs and what it saves, side by side."""
