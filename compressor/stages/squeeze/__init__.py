"""A smaller student whose weights are a learned linear map of a larger model's."""
