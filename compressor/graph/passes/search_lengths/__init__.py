"""Choose the length dial's default on the finished graph."""
