"""The page that shows one run, a sweep or an advice, and the gathering of runs from their manifests."""
