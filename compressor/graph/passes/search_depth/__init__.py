"""Choose how early an adaptive-depth graph stops where nobody says."""
